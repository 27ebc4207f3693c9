"""What an object store must do, whichever it is, and how the configured ones are opened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from model.errors import BadInput, RegistryError

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

    `existed` is None where the store does not tell.  `unknown`: nobody knows whether the delete
    was carried out, or still will be.
    """

    path: str
    existed: bool | None
    error: str | None = None
    unknown: bool = False


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing."""

    path: str
    size: int
    modified_ms: int


class Store(Protocol):
    """One storage location.  Paths are relative, with `/` between plain segments.

    `late_delete_ms`: for how long a delete that was sent may still be carried out after its sender died.
    """

    late_delete_ms: int

    def erase(self, paths: Sequence[str]) -> list[Erased]:
        """Delete objects; one result per path, in order.  Never raises for one key.

        A missing object is no error.  Repeating it is safe.
        """

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

        Streams in bounded memory.  Raises `StoreUnavailable` rather than end early.
        """

    def check(self) -> None:
        """Raise `StoreUnavailable`, with what to do, unless objects can be written, read and erased."""


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
    """Make the directories of local stores where they are missing; again changes nothing."""
    for url in locations.values():
        open_store(url, create=True)


def open_store(url: str, *, create: bool = False) -> Store:
    """The driver for `/path`, `file:///path[?fsync=off]` or `s3://bucket/prefix[?endpoint=…&region=…]`."""
    if "://" not in url:
        return _local(url, {}, create)
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "file":
        return _local(unquote(parts.path), options, create)
    if parts.scheme == "s3":
        return _s3(parts, options)
    raise BadInput("A storage URL starts with file:// or s3://", url=url)


def valid_path(path: str) -> bool:
    """Whether `path` can name an object: relative, of plain segments."""
    return len(path) <= _PATH_LIMIT and _PATH.fullmatch(path) is not None


def checked(path: str) -> str:
    """`path` itself; raises `BadInput` unless it can name an object."""
    if not valid_path(path):
        raise BadInput("This cannot be the path of an object", path=repr(path))
    return path


def _local(root: str, options: Mapping[str, str], create: bool) -> Store:
    from worker.storage.local import LocalStore

    synced = options.get("fsync", "on") not in ("off", "0", "false", "no")
    return LocalStore(root, fsync=synced, create=create)


def _s3(parts: SplitResult, options: Mapping[str, str]) -> Store:
    from worker.storage.s3 import open_s3

    return open_s3(parts.netloc, parts.path.strip("/"), options)
