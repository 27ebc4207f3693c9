"""The interface of every object store."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model.errors import BadInput, RegistryError

# A segment never starts with a dot: `..` and a store's own hidden files cannot be named.
_PATH = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_.+=:$-]*(?:/[A-Za-z0-9_$][A-Za-z0-9_.+=:$-]*)*")
_PATH_LIMIT = 1_000


class NoSuchObject(RegistryError):
    """There is no such object in the store."""


class StoreUnavailable(RegistryError):
    """The object store did not answer."""

    retryable = True


class StoreRefuses(StoreUnavailable):
    """The object store answered, and refuses: credentials, bucket or endpoint are wrong."""


class NoSuchLocation(RegistryError):
    """This storage location is not configured: add it to DREDGE_STORAGE."""


class Erased(NamedTuple):
    """The result of an `erase` for one path.

    `existed` is None if the store does not tell.  `unknown` is True if the store may have carried out the
    request, or still may.  `sent` is False if the time was over before the request was sent.
    """

    path: str
    existed: bool | None
    error: str | None = None
    unknown: bool = False
    sent: bool = True


class SetAside(NamedTuple):
    """The result of a `set_aside` for one path; `version` names the hidden version of a versioned bucket.

    `existed`, `unknown` and `sent` have the same meaning as in `Erased`.
    """

    path: str
    existed: bool | None
    version: str = ""
    error: str | None = None
    unknown: bool = False
    sent: bool = True


class Trash(NamedTuple):
    """The place of an object in the trash, and its original path."""

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
    """Return seconds on a clock that never goes back and also counts while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Store(Protocol):
    """One storage location.  Paths are relative, with `/` between plain segments.

    `late_delete_ms` is how long the store may still carry out an unanswered request, including all attempts
    of the driver.  `address` is where the store is, without credentials; it is equal for two spellings of
    one place.  `quarantine_is_cheap` is True if setting an object aside copies no bytes.

    `until_s` is a time of `clock_s`.  The driver reads that clock right before each request (on a file
    system: before each file) and sends nothing from that time on.
    """

    late_delete_ms: int

    @property
    def address(self) -> str: ...

    @property
    def quarantine_is_cheap(self) -> bool: ...

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        """Delete objects.  Returns one result per path, in order.  Never raises for a single path.

        A missing object is not an error.  Idempotent.
        """

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        """Move objects to the trash; each move is (path, trash).  Returns one result per move, in order.

        Never raises for a single path.  Idempotent: an object that is in the trash already stays there.
        """

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Undo one `set_aside`.  Returns whether the object is at `path` afterwards.

        Keeps an object that is at `path` already.  A copy in the trash stays until a purge, because a late
        request may delete the object at `path`.  On a versioned bucket the object becomes a new version, so
        that a late purge of the old one does no harm; an empty `version` means the newest hidden one.
        Idempotent.  Raises `StoreUnavailable`.
        """

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        """Delete objects of the trash permanently.  Returns one result each, in order, with the trash's path.

        Never deletes the live object at `path`.  Idempotent.
        """

    def read_identity(self) -> str | None:
        """Return the store's identity, or None if it has none.  Raises `StoreUnavailable`."""

    def write_identity(self, identity: str) -> str:
        """Write the store's identity unless it has one.  Returns the identity that it has afterwards."""

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Store the chunks as one object, completely or not at all.  Returns the number of bytes.

        Replaces an object of that name.  If `chunks` raises, stores nothing and raises that error.
        """

    def read(self, path: str) -> Iterator[bytes]:
        """Return the object's bytes in chunks.  Raises `NoSuchObject` before the first chunk is read."""

    def size(self, path: str) -> int | None:
        """Return the object's size in bytes, or None if there is no such object."""

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield every object below the folder `prefix`, by ascending path, after `start_after`.

        Uses bounded memory.  Raises `StoreUnavailable` instead of ending early.  Lists the trash only if
        `prefix` is in it, and never the identity.
        """

    def check(self) -> Sequence[str]:
        """Try every kind of request.  Returns notes for the operator.

        Writes, reads, lists, sets aside, puts back and purges small objects, and leaves none behind.  Raises
        `StoreUnavailable`, with what to do, if a request fails.
        """


class Stores(Mapping[str, Store]):
    """The configured locations by name; new blobs are written to `upload`."""

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


def valid_path(path: str) -> bool:
    """Return whether `path` can name an object: relative, of plain segments."""
    return len(path) <= _PATH_LIMIT and _PATH.fullmatch(path) is not None


def checked(path: str) -> str:
    """Return `path`.  Raises `BadInput` if it cannot name an object."""
    if not valid_path(path):
        raise BadInput("An object cannot have this path", path=repr(path))
    return path
