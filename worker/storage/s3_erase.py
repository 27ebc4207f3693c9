"""Deleting in bulk from S3, with a result per key although the library gives one per request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as Bucket

from worker.storage.base import Erased, valid_path
from worker.storage.rate import Pace

BULK = 1_000
_PARALLEL = 8
# So many keys of one request may be refused before the rest is deleted one by one.
_REFUSALS = 8

_REFUSED = re.compile(r'DeleteFailed \{\s*path: "(?P<path>[^"]*)",\s*code: "(?P<code>[^"]*)"')
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]+)</Code>")
# Where the library looks for a machine's role when no credentials are set.
_METADATA_SERVICE = re.compile(r"://169\.254\.|://\[fd00:ec2|://sts\.")
_BUSY = ("SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "TooManyRequests")
_ADVICE = {
    "401": "check the AWS credentials",
    "403": "check the AWS credentials and the bucket's policy",
    "404": "there is no such bucket: create it",
    "429": "it asks for fewer requests",
    "503": "it asks for fewer requests",
}


def explain(error: BaseException) -> tuple[str, str]:
    """One line for people and a kind for the program: answered, busy, unsent or unknown."""
    text = str(error)
    line = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    if _METADATA_SERVICE.search(line):
        return "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "unsent"
    status, code = _STATUS.search(text), _CODE.search(text)
    if status:
        number = status.group(1)
        reason = f"the object store answered {number}{' ' + code.group(1) if code else ''}"
        message = f"{reason} ({_ADVICE[number]})" if number in _ADVICE else reason
        if number in ("429", "503") or (code and code.group(1) in _BUSY):
            return message, "busy"
        # A gateway that gave up does not know what became of the request behind it.
        return message, "unknown" if number.startswith("5") and number != "501" else "answered"
    if "kind: Connect" in text:
        return f"the object store cannot be reached ({_where(line)})", "unsent"
    if "kind: Timeout" in text:
        return f"the object store did not answer in time ({_where(line)})", "unknown"
    if isinstance(error, PermissionError):
        return line[:300], "answered"
    return line[:300], "unknown"


def _where(line: str) -> str:
    found = re.search(r"https?://[^/\s]+", line)
    return found.group(0) if found else line[:200]


class Eraser:
    """Deletes objects in parallel requests of 1,000, at a pace that the store accepts."""

    def __init__(self, bulk: Bucket, single: Bucket, prefix: str, pace: Pace | None = None) -> None:
        self._bulk, self._single = bulk, single
        self._prefix = f"{prefix}/" if prefix else ""
        self.pace = pace or Pace()

    def erase(self, paths: Sequence[str]) -> list[Erased]:
        """One result per path, in order."""
        wanted = [path for path in dict.fromkeys(paths) if valid_path(path)]
        chunks = [wanted[n : n + BULK] for n in range(0, len(wanted), BULK)]
        if len(chunks) <= 1:
            results = [result for chunk in chunks for result in self._erase_chunk(chunk)]
        else:
            with ThreadPoolExecutor(min(_PARALLEL, len(chunks))) as pool:
                results = [result for part in pool.map(self._erase_chunk, chunks) for result in part]
        by_path = {result.path: result for result in results}
        invalid = "not the path of an object"
        return [by_path.get(path) or Erased(path, None, invalid) for path in paths]

    def _erase_chunk(self, chunk: Sequence[str]) -> list[Erased]:
        """One request; the keys it refuses are set aside, one at a time, and the rest is asked again.

        Asking again is safe: the rows of these keys are held by the caller, and a key that is gone
        is no error.
        """
        rest = list(chunk)
        results: list[Erased] = []
        for _ in range(_REFUSALS):
            if not rest:
                return results
            try:
                self.pace.wait(len(rest))
                obstore.delete(self._bulk, rest)
            except (BaseError, OSError) as error:
                refused = _REFUSED.search(str(error))
                path = refused.group("path").removeprefix(self._prefix) if refused else None
                if refused and path in rest:
                    rest.remove(path)
                    results.append(self._refused(path, refused.group("code")))
                    continue
                if refused or "status code: 501" in str(error) or "status code: 405" in str(error):
                    break
                return results + [self._failed(path, error) for path in rest]
            self.pace.faster()
            return results + [Erased(path, None) for path in rest]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return results + list(pool.map(self._erase_one, rest))

    def _erase_one(self, path: str) -> Erased:
        try:
            self.pace.wait(1)
            obstore.delete(self._single, path)
        except FileNotFoundError:
            return Erased(path, False)
        except (BaseError, OSError) as error:
            return self._failed(path, error)
        return Erased(path, None)

    def _refused(self, path: str, code: str) -> Erased:
        if code in _BUSY:
            self.pace.slower()
        return Erased(path, None, f"the object store answered {code}", unknown=code == "InternalError")

    def _failed(self, path: str, error: BaseException) -> Erased:
        message, kind = explain(error)
        if kind == "busy":
            self.pace.slower()
        return Erased(path, None, message, unknown=kind == "unknown")
