"""Delete from S3, in bulk if the store supports it, else one object at a time, with a result per key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote

from worker.logs import logger
from worker.storage.answers import TOO_LATE, Known, Problem, attempt
from worker.storage.base import Erased, clock_s, valid_path
from worker.storage.one_by_one import PARALLEL, one_by_one, spread
from worker.storage.rate import RequestRate
from worker.storage.s3_client import S3Client, classify, error_of_key, sending_until

BULK = 1_000
# Seconds for which keys are deleted one at a time after an unclear answer to a bulk delete.
_SINGLY_S = 600.0
# Errors of a key that concern the bulk delete itself.
_ABOUT_BULK = ("", "NotImplemented", "MethodNotAllowed", "MalformedXML", "InvalidRequest")
_NO_PATH = "not the path of an object"

log = logger("storage")


class Doomed(NamedTuple):
    """An object to delete, or one version of it."""

    path: str
    version: str = ""


class Eraser:
    """Deletes objects in parallel requests of at most 1,000 each, at a rate that the store accepts."""

    def __init__(self, client: S3Client, requests: RequestRate | None = None) -> None:
        self._client = client
        self.requests = requests or RequestRate()
        self._singly_until_s = -math.inf

    @property
    def singly(self) -> bool:
        """Return whether objects are deleted one at a time for now, because a bulk delete failed."""
        return clock_s() < self._singly_until_s

    def erase(self, doomed: Sequence[Doomed], *, until_s: float = math.inf) -> list[Erased]:
        """Delete these objects.  Returns one result for each, in order."""
        wanted = [each for each in dict.fromkeys(doomed) if valid_path(each.path)]
        size = self.requests.chunk(BULK)
        chunks = [wanted[n : n + size] for n in range(0, len(wanted), size)]
        if len(chunks) <= 1:
            parts = [self._erase_chunk(chunk, until_s) for chunk in chunks]
        else:
            with ThreadPoolExecutor(min(PARALLEL, len(chunks))) as pool:
                parts = list(pool.map(lambda chunk: self._erase_chunk(chunk, until_s), chunks))
        results = {key: result for part in parts for key, result in part.items()}
        return [results.get(each) or Erased(each.path, None, _NO_PATH) for each in doomed]

    def _erase_chunk(self, chunk: Sequence[Doomed], until_s: float) -> dict[Doomed, Erased]:
        """Send one bulk request.  If the store refuses it, delete the keys one at a time."""
        if len(chunk) == 1 or self.singly:
            return self._singly(chunk, until_s)
        answer = self._bulk(chunk, until_s)
        if not isinstance(answer, Problem):
            return self._read_answer(chunk, answer, until_s)
        if answer.known is Known.UNCLEAR:
            # Nothing more is sent for these keys now, because the store may still carry out this request.
            # Next time they are deleted one at a time: perhaps bulk deletes fail, or one of the keys does.
            self._singly_until_s = max(self._singly_until_s, clock_s() + _SINGLY_S)
        elif answer.known in (Known.REFUSED, Known.GONE) and not answer.everywhere:
            results = self._singly(chunk, until_s)
            if any(result.error is None for result in results.values()):
                self._remember_no_bulk(answer)
            return results
        return {each: self._failed(each, answer) for each in chunk}

    def _remember_no_bulk(self, answer: Problem) -> None:
        if self._singly_until_s != math.inf:
            self._singly_until_s = math.inf
            log.warning("storage.no_bulk_delete", store=str(self._client.url), answer=answer.message)

    def _bulk(self, chunk: Sequence[Doomed], until_s: float) -> dict[str, Any] | Problem:
        objects = [self._named(each) for each in chunk]

        def send() -> dict[str, Any]:
            with sending_until(until_s):
                found: dict[str, Any] = self._client.once.delete_objects(
                    Bucket=self._client.url.bucket, Delete={"Objects": objects}
                )
            return found

        if clock_s() >= until_s:
            return TOO_LATE
        self.requests.wait(len(chunk))
        return attempt(send, classify)

    def _named(self, each: Doomed) -> dict[str, str]:
        key = self._client.prefix + each.path
        return {"Key": key, "VersionId": each.version} if each.version else {"Key": key}

    def _read_answer(
        self, chunk: Sequence[Doomed], answer: dict[str, Any], until_s: float
    ) -> dict[Doomed, Erased]:
        """Give each key its result from the answer; delete keys again that the answer leaves open."""
        results: dict[Doomed, Erased] = {}
        again: list[Doomed] = []
        keys = _Keys(chunk, self._client.prefix)
        for item in answer.get("Deleted") or ():
            for each in keys.named(item):
                results[each] = Erased(each.path, None)
        for item in answer.get("Errors") or ():
            problem = error_of_key(str(item.get("Code") or ""))
            for each in keys.named(item):
                results[each] = self._failed(each, problem)
                if problem.known is Known.REFUSED and problem.code in _ABOUT_BULK:
                    again.append(each)
        if not answer.get("Errors"):
            self.requests.faster()
        unnamed = [each for each in chunk if each not in results]
        if not self._are_gone(unnamed):
            again += unnamed
        else:
            results.update({each: Erased(each.path, None) for each in unnamed})
        return results | self._singly(again, until_s)

    def _are_gone(self, unnamed: Sequence[Doomed]) -> bool:
        """Return whether a sample of the keys that the answer does not name is deleted.

        If so, all of them count as deleted: some stores name only errors, or nothing.
        """
        return all(attempt(partial(self._client.head, *each), classify) is None for each in spread(unnamed))

    def _singly(self, chunk: Sequence[Doomed], until_s: float) -> dict[Doomed, Erased]:
        """Delete key by key in parallel, after a few keys have shown that the store answers."""
        found = one_by_one(chunk, lambda each: self._erase_one(each, until_s))
        return {
            each: self._failed(each, problem) if problem else Erased(each.path, None)
            for each, problem in found.items()
        }

    def _erase_one(self, each: Doomed, until_s: float) -> Problem | None:
        def send() -> None:
            with sending_until(until_s):
                self._client.once.delete_object(Bucket=self._client.url.bucket, **self._named(each))

        if clock_s() >= until_s:
            return TOO_LATE
        self.requests.wait(1)
        found = attempt(send, classify)
        if isinstance(found, Problem) and found.known is Known.GONE:
            return None
        if found is None:
            self.requests.faster()
        return found

    def _failed(self, each: Doomed, problem: Problem) -> Erased:
        if problem.known is Known.GONE:
            return Erased(each.path, False)
        if problem.known is Known.BUSY:
            self.requests.slower()
        sent = problem.known is not Known.LATE
        return Erased(each.path, None, problem.message, unknown=problem.unknown, sent=sent)


class _Keys:
    """Finds the objects of a request by the names in its answer.

    Some stores answer with keys that are percent-encoded, lack the prefix or begin with a slash.
    """

    def __init__(self, chunk: Sequence[Doomed], prefix: str) -> None:
        self._prefix = prefix
        self._by_path: dict[str, list[Doomed]] = {}
        for each in chunk:
            self._by_path.setdefault(each.path, []).append(each)

    def named(self, item: dict[str, Any]) -> list[Doomed]:
        """Return the objects that one entry of the answer names, or none if its key is unknown."""
        key = str(item.get("Key") or "")
        for name in (key, unquote(key), unquote(key).lstrip("/")):
            found = self._by_path.get(name.removeprefix(self._prefix))
            if found:
                version = str(item.get("VersionId") or "")
                return [each for each in found if each.version == version] or found
        return []
