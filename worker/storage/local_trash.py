"""Files that were set aside below one directory, and the directory's identity."""

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
    """Rename each (path, trash); a root that went away is an error, not a directory without files."""
    prefix = f"{root}{os.sep}"
    results = [_set_aside_one(root, prefix, path, trash, until_s) for path, trash in moves]
    if any(result.existed is False for result in results) and not root.is_dir():
        return [SetAside(r.path, None, error="the storage directory is missing") for r in results]
    remove_empty_folders(prefix, {r.path.rpartition("/")[0] for r in results if r.existed})
    return results


def _set_aside_one(root: Path, prefix: str, path: str, trash: str, until_s: float) -> SetAside:
    if not (valid_path(path) and valid_path(trash)):
        return SetAside(path, None, error="not the path of an object")
    # Twice: the first file of a trash folder finds no folder, or one that a purge just removed.
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
    """Without the root: where the disk went away, nothing may be made in its place."""
    (root / TRASH_FOLDER).mkdir(exist_ok=True)
    (root / trash).parent.mkdir(exist_ok=True)


def put_back(root: Path, path: str, trash: str, *, fsync: bool) -> bool:
    """Move a file from the trash to its path, where that is free; True where the path has a file then."""
    target = root / path
    if target.exists():
        return True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # One step, so that no late rename into the trash finds the file under two names or none.  Whoever
        # writes the path at this moment writes the same bytes: its name is their digest.
        (root / trash).rename(target)
    except FileNotFoundError:  # somebody else put it back meanwhile, or it never was there
        return target.exists() or _raise_if_missing(root)
    if fsync:
        for folder in target.parents:
            fsync_directory(folder)
            if folder == root:
                break
    return True


def _raise_if_missing(root: Path) -> bool:
    """False; raises `FileNotFoundError` where the directory itself went away."""
    os.stat(root)  # noqa: PTH116
    return False


def read_identity(root: Path) -> str | None:
    """The identity in its file, or None; raises `OSError` where the directory went away."""
    try:
        return (root / IDENTITY_PATH).read_text().strip() or None
    except FileNotFoundError:
        _raise_if_missing(root)
        return None


def write_identity(root: Path, identity: str) -> str:
    """Write the file whole, unless there is one; the identity that stands."""
    temporary = root / f".identity-{uuid.uuid4().hex}"
    temporary.write_text(identity)
    _link_unless_taken(temporary, root / IDENTITY_PATH)
    fsync_directory(root)
    return read_identity(root) or identity


def _link_unless_taken(source: Path, target: Path) -> None:
    """Give a file a name that is free; where the name is taken, its file stays and `source` goes.

    A hard link refuses a taken name in one step.  A file system without hard links is asked first.
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
