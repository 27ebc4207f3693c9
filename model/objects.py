"""What the database knows about an object, asked by its path."""

from __future__ import annotations

import re
from collections.abc import Sequence

from model.database import fetch

# The folders that blobs and uploads lie in.  A bucket may hold other things of a Quay beside them
# (build logs, user files): what lies elsewhere is none of ours.
OURS = re.compile(
    r"(?P<algorithm>sha256|sha384|sha512)/(?P<start>[0-9a-f]{2})/(?P=start)[0-9a-f]{30,}"
    r"|sharedimages/[0-9a-f-]{36}/[^/]+|uploads/[^/].*"
)


def is_ours(path: str) -> bool:
    """Could a blob's row or an upload's row speak of this path?"""
    return OURS.fullmatch(path) is not None


def find_known(paths: Sequence[str], location: str) -> set[str]:
    """Which of the paths a blob row placed at the location, an upload or a tombstone speaks of, now.

    A row without any placement is a download in progress and may be of any location.
    """
    digests = {digest: path for path in paths if (digest := digest_of(path))}
    uuids = {uuid: path for path in paths if (uuid := _second(path, "sharedimages"))}
    uploads: dict[str, list[str]] = {}
    for path in paths:
        if upload := _second(path, "uploads"):
            uploads.setdefault(upload[:36], []).append(path)
    placed = (
        " LEFT JOIN imagestorageplacement p ON p.storage_id = b.id"
        " LEFT JOIN imagestoragelocation l ON l.id = p.location_id"
        " WHERE (p.id IS NULL OR l.name = %(location)s)"
    )
    rows = fetch(
        f"SELECT 'digest' AS kind, b.content_checksum AS key FROM imagestorage b{placed}"
        " AND b.cas_path AND b.content_checksum = ANY(%(digests)s)"
        f" UNION ALL SELECT 'uuid', b.uuid FROM imagestorage b{placed} AND b.uuid = ANY(%(uuids)s)"
        " UNION ALL SELECT 'upload', u.uuid FROM blobupload u WHERE u.uuid = ANY(%(uploads)s)"
        " UNION ALL SELECT 'path', t.path FROM dredge_tombstone t"
        " WHERE t.location = %(location)s AND t.path = ANY(%(paths)s)",
        {
            "location": location,
            "digests": list(digests),
            "uuids": list(uuids),
            "uploads": list(uploads),
            "paths": list(paths),
        },
    )
    paths_of = {
        "digest": {digest: [path] for digest, path in digests.items()},
        "uuid": {uuid: [path] for uuid, path in uuids.items()},
        "upload": uploads,
    }
    return {path for row in rows for path in paths_of.get(row.kind, {}).get(row.key, [row.key])}


def find_sighted(paths: Sequence[str], kind: str) -> set[str]:
    """Which of the paths a sweep has seen already."""
    rows = fetch("SELECT key FROM dredge_sighting WHERE kind = %s AND key = ANY(%s)", (kind, list(paths)))
    return {row.key for row in rows}


def digest_of(path: str) -> str | None:
    """The digest whose object lies at `path`, or None where the path is not made from a digest."""
    parts = path.split("/")
    if len(parts) != 3 or parts[0] in ("sharedimages", "uploads") or parts[1] != parts[2][:2].zfill(2):
        return None
    return f"{parts[0]}:{parts[2]}"


def _second(path: str, folder: str) -> str | None:
    first, _, rest = path.partition("/")
    return rest.partition("/")[0] if first == folder and rest else None
