"""Set objects of a bucket aside: as a hidden version if it keeps versions, else as a copy in the trash."""

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

# S3 copies at most 5 GB in one request; copies of smaller parts end before a request's timeout.
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
    """The rest of one move: its delete, or nothing if `result` is final already."""

    doomed: Doomed | None
    result: SetAside


class TrashBin:
    """Hides, puts back and purges the objects of one bucket."""

    def __init__(self, client: S3Client, eraser: Eraser, *, copy_part: int = COPY_PART) -> None:
        """Use the client and eraser of one location.  One request copies at most `copy_part` bytes."""
        self._client, self._eraser = client, eraser
        self._transfer = TransferConfig(multipart_threshold=copy_part, multipart_chunksize=copy_part)

    @cached_property
    def keeps_versions(self) -> bool:
        """Return whether the bucket keeps versions of its objects; False if the store does not tell."""
        found = attempt(
            lambda: self._client.ask.get_bucket_versioning(Bucket=self._client.url.bucket), classify
        )
        return not isinstance(found, Problem) and found.get("Status") == "Enabled"

    def set_aside(self, moves: Sequence[tuple[str, str]], until_s: float) -> list[SetAside]:
        """Copy in parallel where needed, then delete in bulk.  Returns one result per move, in order.

        The next call finds a copy that took too long, and does not repeat it.  Only the delete must be sent
        before `until_s`; a late copy is harmless.  Idempotent.
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
        """Prepare one move: copy the object, unless the delete will only hide its version."""
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
            # A delete without a version only hides the object: this version stays until a purge names it.
            return _Ready(Doomed(path), SetAside(path, True, version=version))
        copied = self._client.head(trash)
        if copied is None or copied["ContentLength"] != head["ContentLength"]:
            self._copy(path, trash)
        # The null version is from before the bucket kept versions.  A delete that names it affects no other.
        return _Ready(Doomed(path, version), SetAside(path, True))

    def _hidden_version(self, path: str) -> str:
        """Return the version that an earlier call has hidden below a delete marker, or an empty text."""
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
            # A store that cannot copy in parts has no size limit for one request.
            self._client.ask.copy_object(CopySource=origin, **named)

    def put_back(self, path: str, trash: str, version: str) -> bool:
        """Copy the hidden object to its path if that is free; the hidden one stays until a purge.

        The copy is a new version, so a late purge of the hidden one does no harm.  Idempotent.
        """
        if self._asked(path, partial(self._client.head, path)) is not None:
            return True
        version = version or self._asked(path, partial(self._hidden_version, path))
        source = (path, version) if version else (trash, "")
        if self._asked(path, partial(self._client.head, *source)) is None:
            # Another process may have put it back between the two requests.
            return self._asked(path, partial(self._client.head, path)) is not None
        self._asked(path, partial(self._copy, source[0], path, source[1]))
        return True

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        """Delete hidden versions by name, and copies in the trash.  Returns one result each, in order.

        Deletes a version only while it is not the live one.  A copy has a name that no live object has.
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
        """Return what a purge deletes, or the result if there is nothing to delete."""
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
        # The delete marker was removed by hand, so nothing is hidden any more.
        return Erased(trash.trash, False) if live == trash.version else Doomed(path, trash.version)

    def _asked(self, path: str, call: Any) -> Any:
        found = attempt(call, classify)
        if isinstance(found, Problem):
            raise raised(found, str(self._client.url), path)
        return found
