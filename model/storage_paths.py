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


EMPTY_LAYER_PATH = object_path(EMPTY_LAYER, True, "")
