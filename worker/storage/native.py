"""Objects in a bucket of Google Cloud Storage or a container of Azure Blob Storage."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TypeVar

import obstore

from model.storage_paths import IDENTITY_PATH, TRASH_FOLDER
from worker.storage.answers import TOO_LATE, Known, Problem, attempt, raised
from worker.storage.base import (
    Erased,
    NoSuchObject,
    ObjectInfo,
    SetAside,
    StoreUnavailable,
    Trash,
    checked,
    clock_s,
    valid_path,
)
from worker.storage.bucket import PART, read_identity, spooled
from worker.storage.native_client import Bucket, address, classify, connect
from worker.storage.one_by_one import PARALLEL, one_by_one
from worker.storage.probe import probe
from worker.storage.rate import RequestRate
from worker.storage_url import BucketURL

T = TypeVar("T")
_NO_PATH = "not the path of an object"


class NativeStore:
    """One bucket or container, or a prefix of it.

    Deletes objects one at a time, in parallel: for a bulk delete the library reports only one error.
    """

    quarantine_is_cheap = False

    def __init__(self, url: BucketURL) -> None:
        self.name = str(url)
        self._url = url
        # The server may finish a request after the driver's timeout.  A delete is sent only once.
        self.late_delete_ms = int(2000 * url.timeout_s)
        self.requests = RequestRate()

    @cached_property
    def address(self) -> str:
        """Return the server, bucket and prefix."""
        return address(self._url)

    @cached_property
    def _ask(self) -> Bucket:
        return connect(self._url, retries=3)

    @cached_property
    def _once(self) -> Bucket:
        return connect(self._url, retries=0)

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> builtins.list[Erased]:
        """Delete objects one at a time, in parallel."""
        wanted = [path for path in dict.fromkeys(paths) if valid_path(path)]
        found = one_by_one(wanted, partial(self._erase_one, until_s))
        return [
            self._erased(path, found[path]) if path in found else Erased(path, None, _NO_PATH)
            for path in paths
        ]

    def _erase_one(self, until_s: float, path: str) -> Problem | None:
        if clock_s() < until_s:
            self.requests.wait(1)
        once = attempt(lambda: self._once, classify)
        if isinstance(once, Problem):
            return once
        # The last check of the clock; the library sends a delete only once.
        if clock_s() >= until_s:
            return TOO_LATE
        found = attempt(lambda: obstore.delete(once, path), classify)
        if found is None:
            self.requests.faster()
        elif found.known is Known.BUSY:
            self.requests.slower()
        return found

    def _erased(self, path: str, problem: Problem | None) -> Erased:
        if problem is None or problem.known is Known.GONE:
            return Erased(path, None if problem is None else False)
        late = problem.known is Known.LATE
        return Erased(path, None, problem.message, unknown=problem.unknown, sent=not late)

    def set_aside(
        self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf
    ) -> builtins.list[SetAside]:
        """Copy in parallel, then delete.  Only the delete is bound to `until_s`: a late copy is harmless."""
        if not moves:
            return []
        with ThreadPoolExecutor(min(PARALLEL, len(moves))) as pool:
            looked = list(pool.map(self._copy_aside, moves))
        doomed = [each.path for each in looked if each.existed and not each.error]
        erased = {each.path: each for each in self.erase(doomed, until_s=until_s)}
        return [
            each._replace(error=gone.error, unknown=gone.unknown, sent=gone.sent)
            if (gone := erased.get(each.path))
            else each
            for each in looked
        ]

    def _copy_aside(self, move: tuple[str, str]) -> SetAside:
        path, trash = move
        if not (valid_path(path) and valid_path(trash)):
            return SetAside(path, None, error=_NO_PATH)
        try:
            size = self.size(path)
            if size is None:
                return SetAside(path, False)
            if self.size(trash) != size:
                self._copy(path, trash)
        except NoSuchObject:
            return SetAside(path, False)
        except StoreUnavailable as error:
            return SetAside(path, None, error=str(error))
        return SetAside(path, True)

    def _copy(self, source: str, target: str) -> None:
        self._asked(source, lambda: obstore.copy(self._ask, source, target))

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Copy the object back if the path is free; the copy in the trash stays until a purge."""
        if self.size(checked(path)) is not None:
            return True
        if self.size(checked(trash)) is None:
            return self.size(path) is not None
        self._copy(trash, path)
        return True

    def purge(self, trash: Sequence[Trash]) -> builtins.list[Erased]:
        """Delete the copies in the trash."""
        return self.erase([each.trash for each in trash])

    def read_identity(self) -> str | None:
        """Read the identity with one GET request."""
        return read_identity(self.read)

    def write_identity(self, identity: str) -> str:
        """Write the identity with the condition that there is none."""
        attempt(lambda: obstore.put(self._ask, IDENTITY_PATH, identity.encode(), mode="create"), classify)
        found = self.read_identity()
        if found is None:
            raise StoreUnavailable(f"{self.name}: {IDENTITY_PATH} cannot be written")
        return found

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Collect the chunks in a local temporary file first, and send nothing before `chunks` has ended."""
        checked(path)
        with spooled(chunks) as (spool, written):
            # A large object is sent in parts, and appears after the last one.
            if written <= PART:
                self._asked(path, lambda: obstore.put(self._ask, path, spool.read(), use_multipart=False))
            else:
                self._asked(
                    path, lambda: obstore.put(self._ask, path, spool, chunk_size=PART, max_concurrency=4)
                )
        return written

    def read(self, path: str) -> Iterator[bytes]:
        """Send the request at once, then stream the answer."""
        checked(path)
        stream = iter(self._asked(path, lambda: obstore.get(self._ask, path).stream(min_chunk_size=1 << 20)))

        def chunks() -> Iterator[bytes]:
            while chunk := self._asked(path, lambda: next(stream, None)):
                yield bytes(chunk)

        return chunks()

    def size(self, path: str) -> int | None:
        """Return the size with one HEAD request."""
        checked(path)
        try:
            return int(self._asked(path, lambda: obstore.head(self._ask, path)["size"]))
        except NoSuchObject:
            return None

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """List page by page.

        Ends only after another listing, from the last object on, is empty.  A server that does not support
        a start position lists from the beginning; objects that were seen already are skipped.
        """
        folder = checked(prefix.rstrip("/")) if prefix else None
        hidden = (IDENTITY_PATH,) if prefix else (IDENTITY_PATH, f"{TRASH_FOLDER}/")
        last, seen = start_after, True
        while seen:
            seen, before = False, ""
            for found in self._pages(folder, last):
                if found.path <= before:
                    raise StoreUnavailable("The listing is out of order", store=self.name, path=found.path)
                before = found.path
                if found.path <= last:
                    continue
                last, seen = found.path, True
                if not found.path.startswith(hidden):
                    yield found

    def _pages(self, folder: str | None, offset: str) -> Iterator[ObjectInfo]:
        pages = self._asked(
            "", lambda: iter(obstore.list(self._ask, folder, offset=offset or None, chunk_size=1000))
        )
        while page := self._asked("", lambda: next(pages, None)):
            for item in page:
                yield ObjectInfo(item["path"], item["size"], int(item["last_modified"].timestamp() * 1000))

    def check(self) -> Sequence[str]:
        """Try each kind of request on small objects."""
        probe(self, self.name)
        return ()

    def _asked(self, path: str, call: Callable[[], T]) -> T:
        found = attempt(call, classify)
        if isinstance(found, Problem):
            raise raised(found, self.name, path)
        return found
