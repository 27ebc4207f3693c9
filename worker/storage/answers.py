"""Classify failed requests to an object store by what is known about their effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from worker.storage.base import NOT_SENT, NoSuchObject, StoreRefuses, StoreUnavailable

T = TypeVar("T")


class Known(Enum):
    """What is known about a request that did not succeed."""

    GONE = "there is no such object"
    REFUSED = "the store answered no"
    BUSY = "the store answered that it is too busy; nothing was done"
    UNSENT = "the store was never reached"
    LATE = "its time was over before it was sent"
    UNCLEAR = "nobody knows whether it was or still will be carried out"


@dataclass(frozen=True)
class Problem:
    """Why a request did not succeed: a one-line message, and what is known about its effect.

    `everywhere` is True if a request for any other object of this store would fail alike.
    """

    known: Known
    message: str
    code: str = ""
    everywhere: bool = False

    @property
    def unknown(self) -> bool:
        """Return whether the store may have carried out the request, or still may."""
        return self.known is Known.UNCLEAR


TOO_LATE = Problem(Known.LATE, NOT_SENT, everywhere=True)
ADVICE = {
    "400": "check the endpoint, region and credentials",
    "401": "check the credentials",
    "403": "check the credentials and the bucket's policy",
    "404": "create the bucket, or correct the endpoint",
    "429": "it asks for fewer requests",
    "503": "it asks for fewer requests",
}


NOT_A_STORE = "is the endpoint that of an object store?"


class TooLate(Exception):
    """The time in which the request may be sent was over before it was sent."""


def answered(status: int, code: str) -> str:
    """Return a one-line message about the store's answer, with advice."""
    named = f" {code}" if code and code != str(status) else ""
    advice = f" ({ADVICE[str(status)]})" if str(status) in ADVICE else ""
    return f"the object store answered {status}{named}{advice}"


def attempt(call: Callable[[], T], classify: Callable[[BaseException], Problem]) -> T | Problem:
    """Return the call's result, or what is known about its failure.

    Catches every error, including a native library's panic, which is not an `Exception`: an error of one
    object must not stop the requests for others.  Only errors that end the process are raised.
    """
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 (see above)
        return classify(error)


def unreachable(host: str) -> str:
    """Return a one-line message about a store that does not answer at this host, with advice."""
    return f"the object store cannot be reached ({host}): start it, or correct its endpoint"


def first_line(error: BaseException) -> str:
    """Return the error's kind and the start of its text."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    kind = type(error).__name__
    return f"{kind}: {text[:250]}" if text else kind


def raised(problem: Problem, store: str, path: str) -> StoreUnavailable | NoSuchObject:
    """Return the exception for the caller of the store."""
    if problem.known is Known.GONE:
        return NoSuchObject(path=path)
    kind = StoreRefuses if problem.known is Known.REFUSED else StoreUnavailable
    return kind(f"{store}: {problem.message}")
