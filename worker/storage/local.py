"""Objects as files below one directory."""

from __future__ import annotations

import errno
import math
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

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
    valid_path,
)
from worker.storage.disk import explain, fsync_directory, remove_empty_folders, remove_stale_files, translated
from worker.storage.local_trash import put_back, read_identity, set_aside, write_identity
from worker.storage.probe import probe

_TEMPORARY = ".tmp"
_CHUNK = 1 << 20
_STALE_S = 86_400
_RENAME_TRIES = 10
_HIDDEN = (TRASH_FOLDER, IDENTITY_PATH)


class LocalStore:
    """A store in a directory.  Writes appear completely or not at all; with `fsync` also after a power cut.

    `create` creates a missing root.  Only `dredge init` does that for a configured store: later a missing
    root is an unmounted disk, not an empty store.
    """

    late_delete_ms = 0
    quarantine_is_cheap = True

    def __init__(self, root: str | Path, *, fsync: bool = True, create: bool = True) -> None:
        self.root = Path(root).absolute()
        self.address = self.root.resolve().as_uri()
        self._prefix = f"{self.root}{os.sep}"
        self._fsync = fsync
        self._swept = False
        if create:
            with suppress(OSError):
                self.root.mkdir(parents=True, exist_ok=True)

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        """Unlink each file, then remove the directories that are now empty."""
        prefix, unlink, is_path = self._prefix, os.unlink, valid_path
        results: list[Erased] = []
        folders: set[str] = set()
        missing = False
        for path in paths:
            if not is_path(path):
                results.append(Erased(path, None, "not the path of an object"))
                continue
            if clock_s() >= until_s:
                results.append(Erased(path, None, NOT_SENT, sent=False))
                continue
            try:
                unlink(prefix + path)
                results.append(Erased(path, True))
            except (FileNotFoundError, NotADirectoryError):
                missing = True
                results.append(Erased(path, False))
            except OSError as error:
                results.append(Erased(path, None, explain(self.root, error)))
            folders.add(path.rpartition("/")[0])
        # An unmounted disk must not look like a store whose objects are all gone.
        if missing and not self.root.is_dir():
            return [Erased(r.path, None, "the storage directory is missing") for r in results]
        remove_empty_folders(prefix, folders)
        return results

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        """Rename each file into the trash, then remove the directories that are now empty."""
        return set_aside(self.root, moves, until_s)

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Rename the file back; its new name is durable when this returns, with `fsync`."""
        with self._translated():
            return put_back(self.root, checked(path), checked(trash), fsync=self._fsync)

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        """Unlink each file in the trash."""
        return self.erase([each.trash for each in trash])

    def read_identity(self) -> str | None:
        """Read the identity's file."""
        with self._translated():
            return read_identity(self.root)

    def write_identity(self, identity: str) -> str:
        """Write the identity's file in one step, unless there is one."""
        with self._translated():
            return write_identity(self.root, identity)

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Write a temporary file in the same root, then rename it into place."""
        target = self.root / checked(path)
        with self._translated():
            # Once per process, remove temporary files of writes that crashed at least a day ago.
            if not self._swept:
                self._swept = True
                remove_stale_files(self.root / _TEMPORARY, older_than_s=_STALE_S)
            temporary = self.root / _TEMPORARY / uuid.uuid4().hex
            # Creates no parents: if the disk is unmounted, nothing may be written to its mount point.
            temporary.parent.mkdir(exist_ok=True)
        try:
            written = self._fill(temporary, chunks)
            with self._translated():
                self._into_place(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        return written

    def _fill(self, temporary: Path, chunks: Iterable[bytes]) -> int:
        written = 0
        with self._translated():
            file = temporary.open("xb", buffering=0)
        with file:
            for chunk in chunks:  # Outside the translation, because an OSError of `chunks` is the caller's.
                with self._translated():
                    rest = memoryview(chunk)
                    while rest:
                        done = file.write(rest) or 0
                        written += done
                        rest = rest[done:]
            if self._fsync:
                with self._translated():
                    os.fsync(file.fileno())
        return written

    def _into_place(self, temporary: Path, target: Path) -> None:
        for left in reversed(range(_RENAME_TRIES)):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                break
            # A concurrent erase may have removed the folder while it was empty.
            except (FileNotFoundError, FileExistsError):
                if not left:
                    raise
        if self._fsync:
            for folder in target.parents:
                fsync_directory(folder)
                if folder == self.root:
                    break

    def read(self, path: str) -> Iterator[bytes]:
        """Open the file at once, then stream it."""
        try:
            with self._translated():
                file = (self.root / checked(path)).open("rb", buffering=0)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
                raise NoSuchObject(path=path) from error
            raise

        def chunks() -> Iterator[bytes]:
            with file:
                while True:
                    with self._translated():
                        chunk = file.read(_CHUNK)
                    if not chunk:
                        return
                    yield chunk

        return chunks()

    def size(self, path: str) -> int | None:
        """Ask the file system."""
        with self._translated():
            try:
                found = os.stat(self._prefix + checked(path))  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                if not self.root.is_dir():
                    raise
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """Walk the folders in order; memory is bounded by the largest single folder."""
        folder = f"{checked(prefix.rstrip('/'))}/" if prefix else ""
        with self._translated():
            if not self.root.is_dir():
                raise FileNotFoundError(errno.ENOENT, "the storage directory is missing", str(self.root))
        yield from self._walk(folder, start_after)

    def _walk(self, folder: str, start_after: str) -> Iterator[ObjectInfo]:
        with self._translated():
            entries = self._entries(folder)
        for name, is_folder in entries:
            path = folder + name
            if is_folder:
                if start_after < path or start_after.startswith(path):
                    yield from self._walk(path, start_after)
                continue
            if path <= start_after:
                continue
            with self._translated():
                try:
                    found = os.stat(self._prefix + path, follow_symlinks=False)  # noqa: PTH116
                except FileNotFoundError:
                    continue  # erased meanwhile
            yield ObjectInfo(path, found.st_size, found.st_mtime_ns // 1_000_000)

    def _entries(self, folder: str) -> Sequence[tuple[str, bool]]:
        """Names in the order of whole paths: a folder sorts as `name/`."""
        found = []
        try:
            with os.scandir(self._prefix + folder) as entries:
                for entry in entries:
                    hidden = entry.name.startswith(".") or (not folder and entry.name in _HIDDEN)
                    if not hidden and entry.is_dir(follow_symlinks=False):
                        found.append((entry.name + "/", True))
                    elif not hidden and entry.is_file(follow_symlinks=False):
                        found.append((entry.name, False))
        except FileNotFoundError:
            return []  # A concurrent erase removed the empty folder; the root itself exists.
        found.sort()
        return found

    def check(self) -> Sequence[str]:
        """Try each kind of request on small files."""
        probe(self, f"Storage directory {self.root}")
        return ()

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.root)
