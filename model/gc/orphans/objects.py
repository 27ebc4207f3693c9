"""Objects that no row knows: after two passes they get a tombstone."""

from __future__ import annotations

from collections.abc import Sequence

from model.db.connection import execute, fetch, fetch_one, transaction
from model.db.fragments import MAY_BE_SAME_STORE
from model.gc.orphans.marks import KeyRange, mark_orphans, try_lock_sweep
from model.storage_paths import MALFORMED_SQL, digest_of, object_path
from model.upload import NAMED_SQL

KIND = "object"
LOCKS = 100


def find_unknown(paths: Sequence[str], location: str) -> list[str]:
    """Return those of the paths that no blob row, upload or tombstone refers to; only reads."""
    known = find_known(paths, location) if paths else set()
    return [path for path in paths if path not in known]


def mark_unknown_objects(
    location: str, folder: str, unknown: Sequence[tuple[str, int]], *, now_ms: int, delay_ms: int
) -> int:
    """Mark the unknown (path, size) of one whole folder; write tombstones for those marked `delay_ms` ago.

    Returns how many tombstones.  Each transaction confirms at most a hundred objects.  After a crash the
    other objects are still marked, or are marked again.  A second run confirms none before the delay is over.
    """
    sizes = dict(unknown)
    with transaction():
        if not try_lock_sweep(f"{KIND}:{location}"):
            return 0
        slice = KeyRange(KIND, f"{location}:{folder}/", f"{location}:{folder}/~")
        confirmed = mark_orphans(
            slice, [f"{location}:{path}" for path in sizes], now_ms=now_ms, delay_ms=delay_ms
        )
    paths = [key.removeprefix(f"{location}:") for key in confirmed]
    done = 0
    for start in range(0, len(paths), LOCKS):
        part = paths[start : start + LOCKS]
        done += _bury(location, {path: sizes[path] for path in part}, now_ms)
    return done


_BURY = """
INSERT INTO dredge_tombstone (digest, path, location, size, created_ms, due_ms)
    SELECT d.digest, d.path, %(location)s, d.size, %(now)s, %(now)s
    FROM unnest(%(digests)s::text[], %(paths)s::text[], %(sizes)s::bigint[])
    AS d (digest, path, size)
"""


def _bury(location: str, sizes: dict[str, int], now_ms: int) -> int:
    """Write tombstones for objects that are still unknown.

    Safe: the digests' locks are held, so no push is between its look for a tombstone and the commit of
    its row.  A later push finds the tombstone and cancels it.
    """
    with transaction():
        for digest in sorted(filter(None, map(digest_of, sizes))):
            execute("SELECT pg_advisory_xact_lock(hashtextextended('dredge.digest:' || %s, 0))", (digest,))
        doomed = find_unknown(list(sizes), location)
        return execute(
            _BURY,
            {
                "location": location,
                "now": now_ms,
                "digests": [digest_of(path) for path in doomed],
                "paths": doomed,
                "sizes": [sizes[path] for path in doomed],
            },
        )


_SOME_OBJECTS = f"""
SELECT b.content_checksum AS digest, b.cas_path, b.uuid FROM imagestorageplacement p
    JOIN imagestoragelocation l ON l.id = p.location_id AND l.name = %s
    JOIN imagestorage b ON b.id = p.storage_id AND NOT {MALFORMED_SQL}
    ORDER BY p.id DESC LIMIT %s
"""


def find_some_objects(location: str, *, limit: int) -> list[str]:
    """Return the paths of at most `limit` newest objects that must be at the location; only reads."""
    rows = fetch(_SOME_OBJECTS, (location, limit))
    return [object_path(row.digest, row.cas_path, row.uuid) for row in rows]


_PLACED_HERE = f"""
LEFT JOIN imagestorageplacement p ON p.storage_id = b.id
    LEFT JOIN imagestoragelocation l ON l.id = p.location_id
    CROSS JOIN (SELECT %(location)s::text AS location) s
    WHERE (p.id IS NULL OR {MAY_BE_SAME_STORE})
"""

_KNOWN = f"""
SELECT 'digest' AS kind, b.content_checksum AS key FROM imagestorage b {_PLACED_HERE}
    AND b.cas_path AND b.content_checksum = ANY(%(digests)s)
UNION ALL SELECT 'uuid', b.uuid FROM imagestorage b {_PLACED_HERE} AND b.uuid = ANY(%(uuids)s)
UNION ALL SELECT 'upload', u.uuid FROM blobupload u WHERE u.uuid = ANY(%(uploads)s)
UNION ALL SELECT 'path', m[1] FROM blobupload u CROSS JOIN {NAMED_SQL} AS m
    WHERE cardinality(%(uploads)s::text[]) > 0 AND m[1] = ANY(%(paths)s)
UNION ALL SELECT 'path', t.path FROM dredge_tombstone t
    WHERE t.location = %(location)s AND t.path = ANY(%(paths)s)
"""


def find_known(paths: Sequence[str], location: str) -> set[str]:
    """Return the paths that a blob row placed at the location, an upload or a tombstone refers to now.

    A row without any placement is a download in progress and may be of any location.
    """
    digests = {digest: path for path in paths if (digest := digest_of(path))}
    uuids = {uuid: path for path in paths if (uuid := _second(path, "sharedimages"))}
    uploads: dict[str, list[str]] = {}
    for path in paths:
        if upload := _second(path, "uploads"):
            uploads.setdefault(upload[:36], []).append(path)
    rows = fetch(
        _KNOWN,
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


def find_marked(paths: Sequence[str], kind: str) -> set[str]:
    """Return which of the paths a sweep has marked; only reads."""
    rows = fetch("SELECT key FROM dredge_orphan WHERE kind = %s AND key = ANY(%s)", (kind, list(paths)))
    return {row.key for row in rows}


def has_marks(location: str) -> bool:
    """Return whether any object of the location is marked, whichever folder it lies in."""
    row = fetch_one(
        "SELECT EXISTS (SELECT FROM dredge_orphan WHERE kind = %s AND starts_with(key, %s)) AS found",
        (KIND, f"{location}:"),
    )
    return bool(row.found)


def _second(path: str, folder: str) -> str | None:
    first, _, rest = path.partition("/")
    return rest.partition("/")[0] if first == folder and rest else None
