"""Setting objects of a bucket aside: a hidden version where it keeps versions, else a copy in the trash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from worker.storage.answers import Problem, attempt, raised
from worker.storage.base import Erased, SetAside, Trash, valid_path
from worker.storage.one_by_one import PARALLEL
from worker.storage.s3_client import S3Client, classify
from worker.storage.s3_erase import Doomed, Eraser

# S3 copies at most 5 GB in one request; smaller parts answer before a request's timeout.
COPY_PART = 1 << 30
_NO_PARTS = ("NotImplemented", "501", "MethodNotAllowed", "405")
_NULL = "null"
_NO_PATH = "not the path of an object"


def _joined(result: SetAside, erased: Erased | None) -> SetAside:
    if erased is None:
        return result
    return result._replace(error=erased.error, unknown=erased.unknown, sent=erased.sent)


@dataclass(frozen=True)
class _Ready:
    """What is left to do for one move: the delete, or nothing where `result` is known already."""

    doomed: Doomed | None
    result: SetAside


class TrashBin:
    """Hides, puts back and purges the objects of one bucket."""

    def __init__(self, client: S3Client, eraser: Eraser, *, copy_part: int = COPY_PART) -> None:
        """`copy_part`: bytes that one request copies at most."""
        self._client, self._eraser = client, eraser
        self._transfer = TransferConfig(multipart_threshold=copy_part, multipart_chunksize=copy_part)

    @cached_property
    def keeps_versions(self) -> bool:
        """Whether the bucket keeps the versions of its objects.  False where it does not tell."""
        found = attempt(
            lambda: self._client.ask.get_bucket_versioning(Bucket=self._client.url.bucket), classify
        )
        return not isinstance(found, Problem) and found.get("Status") == "Enabled"

    def set_aside(self, moves: Sequence[tuple[str, str]], until_s: float) -> list[SetAside]:
        """Copy what has to be copied, in parallel, then delete in bulk; one result for each move, in order.

        A copy that took too long is found, and not repeated, by the next call.  Only the delete is bound to
        `until_s`: a late copy hurts nothing.
        """
        if not moves:
            return []
        with ThreadPoolExecutor(min(PARALLEL, len(moves))) as pool:
            ready = list(pool.map(lambda move: self._prepare(*move), moves))
        doomed = [each.doomed for each in ready if each.doomed]
        erased: dict[Doomed | None, Erased] = dict(
            zip(doomed, self._eraser.erase(doomed, until_s=until_s), strict=True)
        )
        return [_joined(each.result, erased.get(each.doomed)) for each in ready]

    def _prepare(self, path: str, trash: str) -> _Ready:
        """Look at one object, and copy it unless its own version is what will be hidden."""
        if not (valid_path(path) and valid_path(trash)):
            return _Ready(None, SetAside(path, None, error=_NO_PATH))
        found = attempt(partial(self._look_and_copy, path, trash), classify)
        if isinstance(found, Problem):
            return _Ready(None, SetAside(path, None, error=found.message))
        return found

    def _look_and_copy(self, path: str, trash: str) -> _Ready:
        head = self._client.head(path)
        if head is None:
            hidden = self._hidden_version(path)
            in_trash = bool(hidden) or self._client.head(trash) is not None
            return _Ready(None, SetAside(path, in_trash, version=hidden))
        version = str(head.get("VersionId") or "")
        if version not in ("", _NULL):
            # A delete without a version only hides: this version stays until a purge names it.
            return _Ready(Doomed(path), SetAside(path, True, version=version))
        copied = self._client.head(trash)
        if copied is None or copied["ContentLength"] != head["ContentLength"]:
            self._copy(path, trash)
        # The null version is from a time when the bucket kept none.  Named, its delete can hit no other.
        return _Ready(Doomed(path, version), SetAside(path, True))

    def _hidden_version(self, path: str) -> str:
        """The version below a delete marker, where an earlier call has hidden the object; else empty."""
        if not self.keeps_versions:
            return ""
        key = self._client.key(path)
        found = self._client.ask.list_object_versions(Bucket=key["Bucket"], Prefix=key["Key"], MaxKeys=100)
        versions = [each for each in found.get("Versions", ()) if each["Key"] == key["Key"]]
        return str(versions[0]["VersionId"]) if versions else ""

    def _copy(self, source: str, target: str, version: str = "") -> None:
        origin = self._client.key(source) | ({"VersionId": version} if version else {})
        named = self._client.key(target)
        try:
            self._client.ask.copy(origin, **named, Config=self._transfer)
        except ClientError as error:
            if classify(error).code not in _NO_PARTS:
                raise
            # A store that cannot copy in parts does not have the limit that makes them needed.
            self._client.ask.copy_object(CopySource=origin, **named)

    def put_back(self, path: str, trash: str, version: str) -> bool:
        """Copy the hidden object to its path where that is free; what was hidden stays until a purge.

        The copy is a new version: a late purge of the hidden one does no harm.
        """
        if self._asked(path, partial(self._client.head, path)) is not None:
            return True
        version = version or self._asked(path, partial(self._hidden_version, path))
        source = (path, version) if version else (trash, "")
        if self._asked(path, partial(self._client.head, *source)) is None:
            # Somebody else may have put it back between the two looks.
            return self._asked(path, partial(self._client.head, path)) is not None
        self._asked(path, partial(self._copy, source[0], path, source[1]))
        return True

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        """Delete hidden versions by their name, and copies in the trash; one result each, in order.

        A version is deleted only while it is not the live one.  A copy has a name that no live object has.
        """
        if not trash:
            return []
        with ThreadPoolExecutor(min(PARALLEL, len(trash))) as pool:
            doomed = list(pool.map(self._doomed, trash))
        wanted = [each for each in doomed if isinstance(each, Doomed)]
        erased = dict(zip(wanted, self._eraser.erase(wanted, until_s=math.inf), strict=True))
        return [
            erased[each]._replace(path=was.trash) if isinstance(each, Doomed) else each
            for was, each in zip(trash, doomed, strict=True)
        ]

    def _doomed(self, trash: Trash) -> Doomed | Erased:
        """What a purge deletes, or the result where there is nothing to delete."""
        path = trash.path if trash.version else trash.trash
        if not valid_path(path):
            return Erased(trash.trash, None, _NO_PATH)
        if not trash.version and not self.keeps_versions:
            return Doomed(path)
        found = attempt(partial(self._client.head, path), classify)
        if isinstance(found, Problem):
            return Erased(trash.trash, None, found.message)
        live = str((found or {}).get("VersionId") or "")
        if not trash.version:
            return Doomed(path, live)
        # Somebody has removed the delete marker by hand: nothing is hidden any more.
        return Erased(trash.trash, False) if live == trash.version else Doomed(path, trash.version)

    def _asked(self, path: str, call: Any) -> Any:
        found = attempt(call, classify)
        if isinstance(found, Problem):
            raise raised(found, str(self._client.url), path)
        return found
