"""What an object store must do, whichever it is, and how the configured ones are opened."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from model.errors import BadInput, RegistryError
from worker.storage.bucket_url import SCHEMES, parse_bucket_url

# A segment never starts with a dot: `..` and a store's own hidden files cannot be named.
_PATH = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_.+=:$-]*(?:/[A-Za-z0-9_$][A-Za-z0-9_.+=:$-]*)*")
_PATH_LIMIT = 1_000


class NoSuchObject(RegistryError):
    """There is no such object in the store."""


class StoreUnavailable(RegistryError):
    """The object store did not answer."""

    retryable = True


class NoSuchLocation(RegistryError):
    """This storage location is not configured: add it to DREDGE_STORAGE."""


class Erased(NamedTuple):
    """What became of one path of an `erase`.

    `existed` is None where the store does not tell.  `unknown`: nobody knows whether the request
    was carried out, or still will be.  `sent` is False where the time was over before it was sent.
    """

    path: str
    existed: bool | None
    error: str | None = None
    unknown: bool = False
    sent: bool = True


class SetAside(NamedTuple):
    """What became of one path of a `set_aside`; `version` names the hidden version of a versioned bucket.

    `existed`, `unknown` and `sent` mean what they mean in `Erased`.
    """

    path: str
    existed: bool | None
    version: str = ""
    error: str | None = None
    unknown: bool = False
    sent: bool = True


class Trash(NamedTuple):
    """Where an object that was set aside is now, and where it was."""

    path: str
    trash: str
    version: str = ""


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing."""

    path: str
    size: int
    modified_ms: int


NOT_SENT = "the time of this request was over before it was sent"


def clock_s() -> float:
    """Seconds on a clock that never goes back and counts the time in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Store(Protocol):
    """One storage location.  Paths are relative, with `/` between plain segments.

    `late_delete_ms`: for how long an unanswered request may still be carried out, all attempts of
    the driver included.  `address` is where the store is, without credentials: two spellings of one
    place are equal.  `quarantine_is_cheap`: setting an object aside moves no bytes.

    `until_s` is a time of `clock_s`.  The driver looks at that clock right before each request (a
    file system: before each file) and sends nothing from that time on.
    """

    late_delete_ms: int

    @property
    def address(self) -> str: ...

    @property
    def quarantine_is_cheap(self) -> bool: ...

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        """Delete objects; one result per path, in order.  Never raises for one key.

        A missing object is no error.  Idempotent.
        """

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        """Move objects, (path, trash) each, out of the way; one result per move, in order.

        Never raises for one key.  Idempotent: an object that is in the trash already stays there.
        """

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Undo one `set_aside`; True where the object is at `path` afterwards.

        An object that is at `path` already is kept.  What had to be copied stays in the trash until a
        purge: a late request may delete what is at `path`.  On a versioned bucket the object becomes a new
        version, so that a late purge of the old one does no harm; where `version` is empty, the newest
        hidden one is taken.  Idempotent.  Raises `StoreUnavailable`.
        """

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        """Delete objects that were set aside, for good; one result each, in order, with the trash's path.

        Never touches what is live at `path`.  Idempotent.
        """

    def read_identity(self) -> str | None:
        """The identity that the store shows; None where it has none.  Raises `StoreUnavailable`."""

    def write_identity(self, identity: str) -> str:
        """Give the store an identity, unless it has one; the identity that stands afterwards."""

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Store the chunks as one object and return their bytes; all of them or nothing.

        Replaces an object of that name.  What `chunks` raises passes, and nothing is stored.
        """

    def read(self, path: str) -> Iterator[bytes]:
        """The object's bytes, in chunks; raises `NoSuchObject` at once."""

    def size(self, path: str) -> int | None:
        """The object's bytes, or None where there is no such object."""

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object below the folder `prefix`, by ascending path, after `start_after`.

        Streams in bounded memory.  Raises `StoreUnavailable` rather than end early.  The trash is
        listed only where `prefix` lies in it, the identity never.
        """

    def check(self) -> Sequence[str]:
        """Notes for the operator; raises `StoreUnavailable`, with what to do, unless everything works.

        Objects are written, read, listed, set aside, put back and purged; nothing is left of them.
        """


class Stores(Mapping[str, Store]):
    """The configured locations by name; `upload` is the one that new blobs go to."""

    def __init__(self, stores: Mapping[str, Store], upload: str) -> None:
        self._stores = dict(stores)
        self.upload = upload

    def __getitem__(self, name: str) -> Store:
        try:
            return self._stores[name]
        except KeyError:
            raise NoSuchLocation(location=name) from None

    def __contains__(self, name: object) -> bool:
        return name in self._stores

    def __iter__(self) -> Iterator[str]:
        return iter(self._stores)

    def __len__(self) -> int:
        return len(self._stores)


def open_stores(locations: Mapping[str, str], *, upload: str = "local_us") -> Stores:
    """A driver for each location; nothing goes over the network before the first call."""
    return Stores({name: open_store(url) for name, url in locations.items()}, upload)


def prepare_stores(locations: Mapping[str, str]) -> None:
    """Make the directories of local stores where they are missing.  Idempotent."""
    for url in locations.values():
        open_store(url, create=True)


def open_store(url: str, *, create: bool = False) -> Store:
    """The driver for a path, `file://`, `s3://`, `gs://` or `az://`; raises `BadInput`."""
    scheme = urlsplit(url).scheme if "://" in url else "file"
    if scheme == "file":
        return _local(url, create)
    if scheme not in SCHEMES:
        raise BadInput(f"A storage URL is a path or starts with file, {', '.join(SCHEMES)}", scheme=scheme)
    return _bucket(url)


def valid_path(path: str) -> bool:
    """Return whether `path` can name an object: relative, of plain segments."""
    return len(path) <= _PATH_LIMIT and _PATH.fullmatch(path) is not None


def checked(path: str) -> str:
    """`path` itself; raises `BadInput` unless it can name an object."""
    if not valid_path(path):
        raise BadInput("This cannot be the path of an object", path=repr(path))
    return path


def _local(url: str, create: bool) -> Store:
    from worker.storage.local import LocalStore

    parts = urlsplit(url) if "://" in url else None
    options = dict(parse_qsl(parts.query)) if parts else {}
    synced = options.get("fsync", "on") not in ("off", "0", "false", "no")
    return LocalStore(unquote(parts.path) if parts else url, fsync=synced, create=create)


def _bucket(url: str) -> Store:
    parsed = parse_bucket_url(url)
    if parsed.scheme == "s3":
        from worker.storage.s3 import S3Store

        return S3Store(parsed)
    from worker.storage.native import NativeStore

    return NativeStore(parsed)
