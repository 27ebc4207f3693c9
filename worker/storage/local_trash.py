"""The trash of a store in a directory, and the directory's identity."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from model.storage_paths import IDENTITY_PATH, TRASH_FOLDER
from worker.storage.base import NOT_SENT, SetAside, clock_s, valid_path
from worker.storage.disk import explain, fsync_directory, remove_empty_folders


def set_aside(root: Path, moves: Sequence[tuple[str, str]], until_s: float) -> list[SetAside]:
    """Rename each (path, trash).  A missing root is an error, because its disk may be unmounted."""
    prefix = f"{root}{os.sep}"
    results = [_set_aside_one(root, prefix, path, trash, until_s) for path, trash in moves]
    if any(result.existed is False for result in results) and not root.is_dir():
        return [SetAside(r.path, None, error="the storage directory is missing") for r in results]
    remove_empty_folders(prefix, {r.path.rpartition("/")[0] for r in results if r.existed})
    return results


def _set_aside_one(root: Path, prefix: str, path: str, trash: str, until_s: float) -> SetAside:
    if not (valid_path(path) and valid_path(trash)):
        return SetAside(path, None, error="not the path of an object")
    # Try twice: the trash folder may not exist yet, or a purge may just have removed it.
    for _ in range(2):
        if clock_s() >= until_s:
            return SetAside(path, None, error=NOT_SENT, sent=False)
        try:
            os.rename(prefix + path, prefix + trash)  # noqa: PTH104 (this loop is timed)
            return SetAside(path, True)
        except NotADirectoryError:
            return SetAside(path, False)
        except FileNotFoundError:
            if not os.path.lexists(prefix + path):
                return SetAside(path, False)
            with suppress(OSError):
                _make_trash_folder(root, trash)
        except OSError as error:
            return SetAside(path, None, error=explain(root, error))
    return SetAside(path, None, error="the folder of the trash is removed again and again")


def _make_trash_folder(root: Path, trash: str) -> None:
    """Create the trash folder, but never the root: if the disk is unmounted, nothing may be created there."""
    (root / TRASH_FOLDER).mkdir(exist_ok=True)
    (root / trash).parent.mkdir(exist_ok=True)


def put_back(root: Path, path: str, trash: str, *, fsync: bool) -> bool:
    """Move a file from the trash to its path if that is free.  Returns whether the path has a file then."""
    target = root / path
    if target.exists():
        return True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # One step, so that a late rename into the trash never finds the file under two names or none.  A
        # push that writes the path at this moment writes the same bytes, since the name is their digest.
        (root / trash).rename(target)
    except FileNotFoundError:  # Another process put it back meanwhile, or it was never there.
        return target.exists() or _raise_if_missing(root)
    if fsync:
        for folder in target.parents:
            fsync_directory(folder)
            if folder == root:
                break
    return True


def _raise_if_missing(root: Path) -> bool:
    """Return False.  Raises `FileNotFoundError` if the root directory itself is missing."""
    os.stat(root)  # noqa: PTH116
    return False


def read_identity(root: Path) -> str | None:
    """Return the identity, or None if there is none.  Raises `OSError` if the directory is missing."""
    try:
        return (root / IDENTITY_PATH).read_text().strip() or None
    except FileNotFoundError:
        _raise_if_missing(root)
        return None


def write_identity(root: Path, identity: str) -> str:
    """Write the identity's file in one step, unless there is one.  Returns the identity that it has then."""
    temporary = root / f".identity-{uuid.uuid4().hex}"
    temporary.write_text(identity)
    _link_unless_taken(temporary, root / IDENTITY_PATH)
    fsync_directory(root)
    return read_identity(root) or identity


def _link_unless_taken(source: Path, target: Path) -> None:
    """Rename `source` to `target` if that is free; otherwise keep `target` and remove `source`.

    A hard link refuses a name that exists, in one step.  A file system without hard links needs a check
    before the rename.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if not target.exists():
            source.replace(target)
            return
    source.unlink(missing_ok=True)
