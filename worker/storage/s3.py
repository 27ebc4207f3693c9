"""Objects in a bucket of S3, or of anything that speaks its protocol."""

from __future__ import annotations

import builtins
import math
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as Bucket

from model.errors import BadInput
from model.storage_paths import IDENTITY_PATH, TRASH_FOLDER
from worker.storage.base import (
    NOT_SENT,
    Erased,
    NoSuchObject,
    ObjectInfo,
    SetAside,
    StoreUnavailable,
    Trash,
    checked,
    clock_s,
)
from worker.storage.s3_erase import Eraser, explain

_PART = 8 << 20
_OPTIONS = ("endpoint", "region", "timeout", "virtual_host")


def open_s3(bucket: str, prefix: str, options: Mapping[str, str]) -> S3Store:
    """A store for `s3://bucket/prefix?endpoint=…&region=…&timeout=30&virtual_host=on`.

    Credentials and anything else come from the AWS_* variables or the machine's role.
    """
    unknown = set(options) - set(_OPTIONS)
    if unknown or not bucket:
        what = f"A storage URL is s3://bucket/prefix with {', '.join(_OPTIONS)}"
        raise BadInput(what, wrong=sorted(unknown))
    timeout = _seconds(options.get("timeout", "30"))

    def connect(**more: Any) -> Bucket:
        config: dict[str, Any] = {key: options[key] for key in ("endpoint", "region") if key in options}
        return Bucket(
            bucket,
            prefix=prefix or None,
            virtual_hosted_style_request=options.get("virtual_host", "off") in ("on", "1", "true", "yes"),
            client_options={
                "allow_http": True,
                "timeout": timedelta(seconds=timeout),
                "connect_timeout": timedelta(seconds=min(timeout, 5)),
            },
            **config,
            **more,
        )

    return S3Store(
        f"s3://{bucket}/{prefix}".rstrip("/"),
        connect(retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=3 * timeout)}),
        # A delete is never repeated blindly: whether to is decided from its row, where pushes can see it.
        Eraser(
            connect(retry_config={"max_retries": 0}),
            connect(retry_config={"max_retries": 0}, disable_bulk_delete=True),
            prefix,
        ),
        # What a server has accepted it may finish after we gave up waiting.
        late_delete_ms=int(2000 * timeout),
    )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput("The storage URL's timeout must be seconds", timeout=text) from None


class S3Store:
    """One bucket, or a prefix of it."""

    quarantine_is_cheap = False

    def __init__(self, name: str, bucket: Bucket, eraser: Eraser, *, late_delete_ms: int) -> None:
        self.name = self.address = name
        self.late_delete_ms = late_delete_ms
        self._bucket = bucket
        self._eraser = eraser

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> builtins.list[Erased]:
        """Bulk deletes, 1,000 objects a request, in parallel; S3 does not tell which existed."""
        if clock_s() >= until_s:
            return [Erased(path, None, NOT_SENT, sent=False) for path in paths]
        return self._eraser.erase(paths)

    def set_aside(
        self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf
    ) -> builtins.list[SetAside]:
        """Copy, then delete."""
        return [self._set_aside_one(path, trash, until_s) for path, trash in moves]

    def _set_aside_one(self, path: str, trash: str, until_s: float) -> SetAside:
        try:
            if self.size(path) is None:
                return SetAside(path, False)
            if clock_s() >= until_s:
                return SetAside(path, None, error=NOT_SENT, sent=False)
            self._copy(path, trash)
        except (StoreUnavailable, NoSuchObject, BadInput) as error:
            return SetAside(path, None, error=str(error))
        (erased,) = self.erase([path], until_s=until_s)
        return SetAside(path, True, error=erased.error, unknown=erased.unknown, sent=erased.sent)

    def _copy(self, source: str, target: str) -> None:
        with self._translated(source):
            obstore.copy(self._bucket, source, target)

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Copy the object back where its path is free, then delete the trash."""
        if self.size(path) is None:
            if self.size(trash) is None:
                return False
            self._copy(trash, path)
        (erased,) = self.erase([trash])
        if erased.error:
            raise StoreUnavailable(f"{self.name}: {erased.error}")
        return True

    def purge(self, trash: Sequence[Trash]) -> builtins.list[Erased]:
        """Delete the copies in the trash."""
        return self.erase([each.trash for each in trash])

    def read_identity(self) -> str | None:
        """One GET request."""
        try:
            return b"".join(self.read(IDENTITY_PATH)).decode().strip() or None
        except NoSuchObject:
            return None

    def write_identity(self, identity: str) -> str:
        """Write the object unless there is one."""
        if (found := self.read_identity()) is not None:
            return found
        self.write(IDENTITY_PATH, [identity.encode()])
        return self.read_identity() or identity

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Spool to a local temporary file first: nothing is sent before `chunks` ended well."""
        checked(path)
        with tempfile.SpooledTemporaryFile(max_size=_PART) as spool:
            written = 0
            for chunk in chunks:
                written += spool.write(chunk)
            spool.seek(0)
            with self._translated(path):
                # A large object goes up in parts and appears when the last one is in.
                if written <= _PART:
                    obstore.put(self._bucket, path, spool.read(), use_multipart=False)
                else:
                    obstore.put(self._bucket, path, spool, chunk_size=_PART, max_concurrency=4)
        return written

    def read(self, path: str) -> Iterator[bytes]:
        """Ask at once, then stream."""
        with self._translated(path):
            stream = obstore.get(self._bucket, checked(path)).stream(min_chunk_size=1 << 20)

        def chunks() -> Iterator[bytes]:
            with self._translated(path):
                for chunk in stream:
                    yield bytes(chunk)

        return chunks()

    def size(self, path: str) -> int | None:
        """One HEAD request."""
        try:
            with self._translated(path):
                return int(obstore.head(self._bucket, checked(path))["size"])
        except NoSuchObject:
            return None

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """List page by page, in the order of S3.

        The library ends quietly where a page says that it is truncated but names no next one.  So
        the end is believed only after a listing from the last object on came back empty.
        """
        folder = checked(prefix.rstrip("/")) if prefix else None
        hidden = (IDENTITY_PATH,) if prefix else (IDENTITY_PATH, f"{TRASH_FOLDER}/")
        last, seen = start_after, True
        while seen:
            seen = False
            for found in self._pages(folder, last):
                if found.path <= last:
                    raise StoreUnavailable("The listing is out of order", store=self.name, path=found.path)
                last, seen = found.path, True
                if not found.path.startswith(hidden):
                    yield found

    def _pages(self, folder: str | None, offset: str) -> Iterator[ObjectInfo]:
        with self._translated(folder or ""):
            for page in obstore.list(self._bucket, folder, offset=offset or None, chunk_size=1000):
                for item in page:
                    modified_ms = int(item["last_modified"].timestamp() * 1000)
                    yield ObjectInfo(item["path"], item["size"], modified_ms)

    def check(self) -> None:
        """Write, list, read back and erase one small object."""
        probe = f"uploads/check-{uuid.uuid4().hex}"
        self.write(probe, [b"dredge"])
        try:
            if b"".join(self.read(probe)) != b"dredge":
                raise StoreUnavailable("An object does not read back as written", store=self.name)
            with self._translated(""):
                next(iter(obstore.list(self._bucket, "uploads", chunk_size=1)), None)
        finally:
            result = self.erase([probe])[0]
        if result.error:
            raise StoreUnavailable(f"{self.name}: {result.error}")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StoreUnavailable(f"{self.name}: there is no such bucket: create it") from error
            raise NoSuchObject(path=path) from error
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"{self.name}: {explain(error)[0]}") from error
