"""The paths of objects: the path of a blob, and the digest of a path.  No other module builds them."""

from __future__ import annotations

import re

# The empty gzipped layer, referred to by half of all images: its object is never erased.
EMPTY_LAYER = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"

# The folders of blobs and uploads.  A bucket may have other objects of Quay (build logs, user files): Dredge
# never touches objects outside of these folders.
OURS = re.compile(
    r"(?P<algorithm>sha256|sha384|sha512)/(?P<start>[0-9a-f]{2})/(?P=start)[0-9a-f]{30,}"
    r"|sharedimages/[0-9a-f-]{36}/[^/]+|uploads/[^/].*"
)

# The folder of the trash: no blob and no upload can have a path in it.
TRASH_FOLDER = "dredge-trash"
# This object has the identity of a store.
IDENTITY_PATH = "dredge-identity"
# A file name has at most 255 bytes; longer paths are not kept in the trash's name.
_NAME_LIMIT = 200
_PER_FOLDER = 1_000
# In the trash's name: every character of a path but letters, digits, `.` and `-`.
_ESCAPES = {"_": "_0", "/": "_1", "$": "_2", ":": "_3", "+": "_4", "=": "_5"}
_UNESCAPES = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPED = re.compile("_[0-5]")
_TRASH_NAME = re.compile(TRASH_FOLDER + r"/\d+/(?P<id>\d{1,18})(?:-(?P<name>.+))?")


def is_ours(path: str) -> bool:
    """Return whether a blob's row or an upload's row can refer to this path."""
    return OURS.fullmatch(path) is not None


# The form of a checksum from which a path can be made, as Python and PostgreSQL both read it.
CHECKSUM = "^(sha256|sha384|sha512):[0-9A-Fa-f]+$"
_CHECKSUM = re.compile(CHECKSUM)
_CONTENT = re.compile(r"(?P<algorithm>sha256|sha384|sha512)/(?P<start>..)/(?P<value>[0-9A-Fa-f]+)")

# Blob `b` lies under its checksum; false also where the checksum is null.
BY_CHECKSUM_SQL = f"(b.cas_path AND b.content_checksum ~ '{CHECKSUM}') IS TRUE"

# The row of blob `b` is damaged: no object can have its path.
MALFORMED_SQL = f"(CASE WHEN b.cas_path THEN NOT {BY_CHECKSUM_SQL} ELSE b.uuid !~ '^[0-9A-Za-z-]+$' END)"

_CHECKSUM_PATH = """split_part(b.content_checksum, ':', 1)
          || '/' || lpad(left(split_part(b.content_checksum, ':', 2), 2), 2, '0')
          || '/' || split_part(b.content_checksum, ':', 2)"""
_UUID_PATH = "'sharedimages/' || b.uuid || '/layer'"

# `object_path` of blob `b` (a test compares the two).
PATH_SQL = f"(CASE WHEN {BY_CHECKSUM_SQL} THEN {_CHECKSUM_PATH} ELSE {_UUID_PATH} END)"

# The same for a blob that is not malformed, without a second look at the checksum.
SOUND_PATH_SQL = f"(CASE WHEN b.cas_path THEN {_CHECKSUM_PATH} ELSE {_UUID_PATH} END)"


def object_path(digest: str | None, cas_path: bool, uuid: str) -> str:
    """Return where a blob's object lies below its location's root.

    A damaged checksum makes no path: no digest can name the object of such a row, so it has only the path of
    its uuid, as old rows have.
    """
    if not cas_path or not digest or not _CHECKSUM.fullmatch(digest):
        return f"sharedimages/{uuid}/layer"
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}/{value[:2].zfill(2)}/{value}"


def digest_of(path: str) -> str | None:
    """Return the digest of the object at `path`; None if the path is not made from a digest."""
    found = _CONTENT.fullmatch(path)
    if found is None or found["start"] != found["value"][:2].zfill(2):
        return None
    return f"{found['algorithm']}:{found['value']}"


def trash_path(tombstone_id: int, path: str) -> str:
    """Return where the object of a tombstone is set aside.  The name keeps the path: see `set_aside_from`.

    It has no character that a URL would encode: some stores do not decode the source of a copy.
    """
    name = "".join(_ESCAPES.get(character, character) for character in path)
    suffix = f"-{name}" if len(name) <= _NAME_LIMIT else ""
    return f"{TRASH_FOLDER}/{tombstone_id // _PER_FOLDER}/{tombstone_id}{suffix}"


def set_aside_from(trash: str) -> tuple[int, str] | None:
    """Read tombstone id and path of an object in the trash from its name; None for other names.

    The path is empty if it was too long for the name.
    """
    found = _TRASH_NAME.fullmatch(trash)
    if found is None:
        return None
    return int(found["id"]), _ESCAPED.sub(lambda escaped: _UNESCAPES[escaped[0]], found["name"] or "")


EMPTY_LAYER_PATH = object_path(EMPTY_LAYER, True, "")
