"""The objects of one location that the database's rows refer to, streamed by path."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.db.connection import execute, fetch, whole_tables
from model.storage_paths import MALFORMED_SQL, PATH_SQL

PAGE = 5_000

# Needed: a pull may read it, or a push protects it.
NEEDED_SQL = """
(EXISTS (SELECT FROM manifestblob m WHERE m.blob_id = b.id)
 OR EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id
            AND u.expires_at > clock_timestamp() AT TIME ZONE 'UTC'))
"""

_EXPECTED = f"""
SELECT path, bool_or(needed) AS needed,
       min(blob) FILTER (WHERE needed) AS blob_id, max(size) FILTER (WHERE needed) AS size
FROM (
    SELECT {PATH_SQL} AS path, b.id AS blob, {NEEDED_SQL} AS needed, b.image_size AS size
    FROM imagestorage b
    JOIN imagestorageplacement p ON p.storage_id = b.id
    JOIN imagestoragelocation l ON l.id = p.location_id
    WHERE l.name = %(location)s AND NOT {MALFORMED_SQL}
    UNION ALL
    SELECT t.path, NULL, false, NULL FROM dredge_tombstone t WHERE t.location = %(location)s
) AS said GROUP BY path ORDER BY path COLLATE "C"
"""


@dataclass(frozen=True)
class Expected:
    """A path that a row refers to.  `needed`: a manifest or a push needs it."""

    path: str
    blob_id: int | None
    needed: bool
    size: int | None


def stream_expected(location: str) -> Iterator[Expected]:
    """Yield every path of the location that a blob row or a tombstone refers to, by ascending bytes.

    Copies one snapshot into a temporary file.  So no transaction is open while the object store is slow, and
    the session may change.
    """
    with tempfile.TemporaryFile("w+") as spool:
        with whole_tables():
            execute(f"DECLARE dredge_fsck NO SCROLL CURSOR FOR {_EXPECTED}", {"location": location})
            while rows := fetch(f"FETCH {PAGE} FROM dredge_fsck"):
                spool.writelines(f"{json.dumps(row)}\n" for row in rows)
            execute("CLOSE dredge_fsck")
        spool.seek(0)
        for line in spool:
            path, needed, blob_id, size = json.loads(line)
            yield Expected(path, blob_id, needed, size)


_STILL_NEEDED = f"""
SELECT b.id, b.image_size FROM imagestorage b JOIN imagestorageplacement p ON p.storage_id = b.id
    JOIN imagestoragelocation l ON l.id = p.location_id
    WHERE l.name = %(location)s AND b.id = ANY(%(ids)s) AND {NEEDED_SQL}
"""


def still_needed(blob_ids: Sequence[int], location: str) -> dict[int, int | None]:
    """Return which of the blobs are still needed at the location now, with their sizes."""
    rows = fetch(_STILL_NEEDED, {"location": location, "ids": list(blob_ids)})
    return {row.id: row.image_size for row in rows}
