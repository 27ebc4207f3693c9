"""One item that fails alone, and does not take its batch with it."""

from __future__ import annotations

from collections.abc import Callable

from model.errors import BrokenInstallation, RegistryError, StatementTimeout
from model.gc import poison
from worker import logs

log = logs.logger("dredge.poison")

# A batch that fails is cut to an eighth, again and again: one item of 5,000 stands alone after five.
DIVIDE_BY = 8


def is_of_an_item(error: Exception) -> bool:
    """May some item be what failed?  An outage or missing rights stop every item alike."""
    if isinstance(error, StatementTimeout):
        return True
    return not isinstance(error, BrokenInstallation) and not (
        isinstance(error, RegistryError) and error.retryable
    )


def attempt_alone(stage: str, key: str, work: Callable[[], object], *, data: str | None = None) -> bool:
    """Do the work of one item, its attempt counted before; False where it failed and is set aside.

    Raises what is no item's fault; the attempt counts nevertheless.
    """
    tries = poison.attempt(stage, key, data)
    try:
        work()
    except Exception as error:
        poison.record_error(stage, key, f"{type(error).__name__}: {error}")
        if not is_of_an_item(error):
            raise
        log.error("item.set_aside", stage=stage, key=key, tries=tries, error=str(error))
        return False
    poison.clear(stage, key)
    return True
