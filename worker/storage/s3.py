"""Objects in a bucket of S3, or of a server with the same API."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from boto3.s3.transfer import TransferConfig

from model.storage_paths import IDENTITY_PATH, TRASH_FOLDER
from worker.storage.answers import Problem, attempt, raised
from worker.storage.base import (
    Erased,
    ObjectInfo,
    SetAside,
    StoreUnavailable,
    Trash,
    checked,
)
from worker.storage.bucket import PART, read_identity, spooled
from worker.storage.probe import probe
from worker.storage.s3_client import S3Client, classify
from worker.storage.s3_erase import Doomed, Eraser
from worker.storage.s3_trash import COPY_PART, TrashBin
from worker.storage_url import BucketURL

_CHUNK = 1 << 20
_PAGE = 1_000
# Answers to a conditional write if another one came first.
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")
_NO_CONDITIONS = ("NotImplemented", "InvalidArgument", "InvalidRequest", "501")


class S3Store:
    """One bucket, or a prefix of it."""

    def __init__(self, url: BucketURL, *, copy_part: int = COPY_PART) -> None:
        """Open no connection yet.  One request copies at most `copy_part` bytes."""
        self.name = str(url)
        # The server may finish a request after the driver's timeout.  A delete is sent only once.
        self.late_delete_ms = int(2000 * url.timeout_s)
        self._client = S3Client(url)
        self._eraser = Eraser(self._client)
        self._trash = TrashBin(self._client, self._eraser, copy_part=copy_part)

    @property
    def address(self) -> str:
        """Return the server, bucket and prefix."""
        return str(self._asked("", lambda: self._client.address))

    @property
    def quarantine_is_cheap(self) -> bool:
        """Return whether the bucket keeps versions, so that a delete only hides.  Asks the bucket once."""
        return self._trash.keeps_versions

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> builtins.list[Erased]:
        """Delete in bulk, 1,000 objects per request, in parallel.  S3 does not tell which objects existed."""
        return self._eraser.erase([Doomed(path) for path in paths], until_s=until_s)

    def set_aside(
        self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf
    ) -> builtins.list[SetAside]:
        """Hide the version if the bucket keeps versions; otherwise copy the object and delete it."""
        return self._trash.set_aside(moves, until_s)

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Copy the object back if the path is free."""
        return self._trash.put_back(checked(path), checked(trash), version)

    def purge(self, trash: Sequence[Trash]) -> builtins.list[Erased]:
        """Delete hidden versions and copies, whose names no live object has."""
        return self._trash.purge(trash)

    def read_identity(self) -> str | None:
        """Read the identity with one GET request."""
        return read_identity(self.read)

    def write_identity(self, identity: str) -> str:
        """Write the identity with the condition that there is none.

        If the store does not support conditions, read before and after the write instead.
        """
        if (found := self.read_identity()) is not None:
            return found
        put = partial(self._client.ask.put_object, **self._client.key(IDENTITY_PATH), Body=identity.encode())
        answer = attempt(partial(put, IfNoneMatch="*"), classify)
        if isinstance(answer, Problem) and answer.code in _NO_CONDITIONS:
            answer = attempt(put, classify)
        if isinstance(answer, Problem) and answer.code not in (*_TAKEN, "412", "409"):
            raise raised(answer, self.name, IDENTITY_PATH)
        found = self.read_identity()
        if found is None:
            raise StoreUnavailable(f"{self.name}: {IDENTITY_PATH} was written and is not there")
        return found

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Collect the chunks in a local temporary file first, and send nothing before `chunks` has ended."""
        named = self._client.key(checked(path))
        with spooled(chunks) as (spool, written):
            # A large object is sent in parts, and appears after the last one.
            if written <= PART:
                self._asked(path, lambda: self._client.ask.put_object(**named, Body=spool.read()))
            else:
                config = TransferConfig(multipart_chunksize=PART, max_concurrency=4)
                self._asked(path, lambda: self._client.ask.upload_fileobj(spool, **named, Config=config))
        return written

    def read(self, path: str) -> Iterator[bytes]:
        """Send the request at once, then stream the answer."""
        named = self._client.key(checked(path))
        body = self._asked(path, lambda: self._client.ask.get_object(**named))["Body"]

        def chunks() -> Iterator[bytes]:
            with body:
                while chunk := self._asked(path, lambda: body.read(_CHUNK)):
                    yield chunk

        return chunks()

    def size(self, path: str) -> int | None:
        """Return the size with one HEAD request, or at most three requests if there is no such object."""
        checked(path)
        found = self._asked(path, lambda: self._client.head(path))
        return None if found is None else int(found["ContentLength"])

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """List page by page, in the order of S3.

        Some stores end a listing too early, so it ends only after another listing, from the last object on,
        is empty.
        """
        folder = f"{checked(prefix.rstrip('/'))}/" if prefix else ""
        hidden = (IDENTITY_PATH,) if prefix else (IDENTITY_PATH, f"{TRASH_FOLDER}/")
        last = start_after
        while page := self._page(folder, last):
            for found in page:
                if found.path <= last:
                    raise StoreUnavailable("The listing is out of order", store=self.name, path=found.path)
                last = found.path
                if not found.path.startswith(hidden):
                    yield found

    def _page(self, folder: str, after: str) -> builtins.list[ObjectInfo]:
        key = self._client.key(folder)
        more: dict[str, Any] = {"StartAfter": self._client.prefix + after} if after else {}
        answer = self._asked(
            "",
            lambda: self._client.ask.list_objects_v2(
                Bucket=key["Bucket"], Prefix=key["Key"], MaxKeys=_PAGE, **more
            ),
        )
        return [
            ObjectInfo(
                item["Key"].removeprefix(self._client.prefix),
                item["Size"],
                int(item["LastModified"].timestamp() * 1000),
            )
            for item in answer.get("Contents", ())
        ]

    def check(self) -> builtins.list[str]:
        """Try each kind of request.  The notes say how the store deletes, and whether it keeps versions."""
        probe(self, self.name)
        notes = []
        if self._eraser.singly:
            notes.append("bulk deletes fail, objects are deleted one at a time")
        if self._trash.keeps_versions:
            notes.append("the bucket keeps versions, a delete hides an object until it is purged")
        return notes

    def _asked(self, path: str, call: Callable[[], Any]) -> Any:
        found = attempt(call, classify)
        if isinstance(found, Problem):
            raise raised(found, self.name, path)
        return found
