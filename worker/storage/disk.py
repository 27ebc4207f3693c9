"""Explain errors of a file system to an operator, and make its changes durable."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.storage.base import StoreUnavailable

_WHAT_TO_DO = {
    errno.EACCES: "give this user write permission on it",
    errno.EPERM: "give this user write permission on it",
    errno.EROFS: "it is mounted read-only",
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOENT: "it is missing: create it, or mount its disk",
    errno.ENOTDIR: "it is not a directory",
    errno.EMFILE: "too many open files: raise the limit",
}


def explain(root: Path, error: OSError) -> str:
    """Return one line with the directory, the problem, and what to do."""
    advice = _WHAT_TO_DO.get(error.errno or 0)
    reason = error.strerror or type(error).__name__
    return f"Storage directory {root}: {reason}" + (f" ({advice})" if advice else "")


@contextmanager
def translated(root: Path) -> Iterator[None]:
    """Turn errors of the file system into `StoreUnavailable`."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(explain(root, error)) from error


def fsync_directory(folder: Path) -> None:
    """Make a rename or a new folder durable; ignore a folder that no longer exists."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_empty_folders(prefix: str, folders: Iterable[str]) -> None:
    """Remove empty folders and their empty parents below `prefix`, except those of the first level.

    Folders of a digest's first byte stay, too, because they fill again.

    Safe beside a write: rmdir refuses a folder that is not empty, and a writer whose folder disappeared
    before its rename creates it again.
    """
    for folder in folders:
        while "/" in folder and len(folder) - folder.rindex("/") > 3:
            try:
                os.rmdir(prefix + folder)  # noqa: PTH106 (this loop is timed)
            except OSError:
                break
            folder = folder.rpartition("/")[0]


def remove_stale_files(folder: Path, *, older_than_s: float) -> None:
    """Remove the files of a folder that were last changed more than `older_than_s` seconds ago."""
    stale_before = time.time() - older_than_s
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < stale_before:
                    Path(entry.path).unlink()
