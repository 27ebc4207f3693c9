"""Where objects lie: the path of a blob, and the digest of a path.  The only place that knows."""

from __future__ import annotations

import re

# The empty gzipped layer, referred to by half of all images: its object is never erased.
EMPTY_LAYER = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"

# The folders that blobs and uploads lie in.  A bucket may hold other things of a Quay beside them
# (build logs, user files): what lies elsewhere is none of ours.
OURS = re.compile(
    r"(?P<algorithm>sha256|sha384|sha512)/(?P<start>[0-9a-f]{2})/(?P=start)[0-9a-f]{30,}"
    r"|sharedimages/[0-9a-f-]{36}/[^/]+|uploads/[^/].*"
)

# Objects that were set aside lie below this folder: no blob and no upload can have a path in it.
TRASH_FOLDER = "dredge-trash"
# Each store shows who it is in this object.
IDENTITY_PATH = "dredge-identity"
# A file name has at most 255 bytes; longer paths are not kept in the trash's name.
_NAME_LIMIT = 200
_PER_FOLDER = 1_000
_TRASH_NAME = re.compile(TRASH_FOLDER + r"/\d+/(?P<id>\d+)-(?P<name>.+)")


def is_ours(path: str) -> bool:
    """Could a blob's row or an upload's row speak of this path?"""
    return OURS.fullmatch(path) is not None


def object_path(digest: str | None, cas_path: bool, uuid: str) -> str:
    """Where a blob's object lies below its location's root."""
    if not cas_path or not digest:
        return f"sharedimages/{uuid}/layer"
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}/{value[:2]}/{value}"


def digest_of(path: str) -> str | None:
    """The digest whose object lies at `path`, or None where the path is not made from a digest."""
    parts = path.split("/")
    if len(parts) != 3 or parts[0] in ("sharedimages", "uploads") or parts[1] != parts[2][:2].zfill(2):
        return None
    return f"{parts[0]}:{parts[2]}"


def trash_path(tombstone_id: int, path: str) -> str:
    """Where the object of a tombstone is set aside.  The name keeps the path: see `set_aside_from`."""
    name = path.replace("$", "$0").replace("/", "$1")
    suffix = f"-{name}" if len(name) <= _NAME_LIMIT else ""
    return f"{TRASH_FOLDER}/{tombstone_id // _PER_FOLDER}/{tombstone_id}{suffix}"


def set_aside_from(trash: str) -> tuple[int, str] | None:
    """Tombstone and path of an object in the trash, read from its name; None where the name has none."""
    found = _TRASH_NAME.fullmatch(trash)
    if found is None:
        return None
    return int(found["id"]), found["name"].replace("$1", "/").replace("$0", "$")


EMPTY_LAYER_PATH = object_path(EMPTY_LAYER, True, "")
