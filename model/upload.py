"""Resumable uploads: a row has an upload's size and the names of its chunks, which are under `uploads/`.

The names are in `storage_metadata`, as in Quay on object stores.  On a file system an upload of Quay is one
file, named after the row.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from model.db.connection import execute, fetch_one, transaction
from model.db.fragments import AT
from model.db.tables.repository import RepositoryState
from model.errors import Contended, NoSuchRepository, NoSuchUpload

# Dredge names a chunk before it writes it, so that no chunk is lost: the numbers are below `chunk_count`.
_NUMBERED = "numbered"
METADATA = json.dumps({_NUMBERED: True, "chunks": []})

# The name of a chunk in the metadata.  It has no other folder and no subfolder, because the eraser uses it.
NAMED_SQL = """regexp_matches(u.storage_metadata, '"(uploads/[0-9A-Za-z][0-9A-Za-z._-]*)"', 'g')"""

# The paths of all chunks of upload `u`, noted or not.
PATHS_SQL = f"""
SELECT 'uploads/' || u.uuid || '-' || n AS path FROM generate_series(0, u.chunk_count) n
WHERE strpos(u.storage_metadata, '"{_NUMBERED}"') > 0
UNION SELECT m[1] FROM {NAMED_SQL} AS m
UNION SELECT 'uploads/' || u.uuid WHERE strpos(coalesce(u.storage_metadata, ''), '"chunks"') = 0
"""

_COLUMNS = """
u.id, u.uuid, u.repository_id, (SELECT l.name FROM imagestoragelocation l WHERE l.id = u.location_id)
    AS location, u.byte_count AS size, u.storage_metadata AS metadata
"""


@dataclass(frozen=True)
class Upload:
    """An upload at one time: `size` bytes so far, and the columns of its row."""

    id: int
    uuid: str
    repository_id: int
    location: str
    size: int
    metadata: str

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths of its chunks, in order."""
        return tuple(path for path, _, _ in json.loads(self.metadata)["chunks"])


_RESERVE_CHUNK = """
UPDATE blobupload SET chunk_count = chunk_count + 1 WHERE id = %s
    RETURNING chunk_count - 1 AS number
"""


def reserve_chunk(upload: Upload) -> str:
    """Reserve a path for one chunk of this request alone.  Raises `NoSuchUpload`."""
    row = fetch_one(_RESERVE_CHUNK, (upload.id,))
    if row is None:
        raise NoSuchUpload(upload=upload.uuid)
    return f"uploads/{upload.uuid}-{row.number}"


_BEGIN = f"""
INSERT INTO blobupload AS u (repository_id, uuid, byte_count, location_id, storage_metadata,
    chunk_count, created) SELECT r.id, %(uuid)s, 0, l.id, %(metadata)s, 0, {AT}
    FROM repository r JOIN imagestoragelocation l ON l.name = %(location)s
    WHERE r.id = %(repository)s AND r.state <> %(deleted)s FOR KEY SHARE OF r RETURNING {_COLUMNS}
"""


def begin_upload(repository_id: int, *, location: str, now_ms: int) -> Upload:
    """Begin an upload into a repository.  After `policy.upload_ttl_ms` it is garbage."""
    made = fetch_one(
        _BEGIN,
        {
            "repository": repository_id,
            "deleted": RepositoryState.MARKED_FOR_DELETION.value,
            "uuid": str(uuid.uuid4()),
            "location": location,
            "metadata": METADATA,
            "at": now_ms,
        },
    )
    if made is None:
        raise NoSuchRepository(repository_id=repository_id, location=location)
    return Upload(*made)


def find_upload(repository_id: int, upload_uuid: str) -> Upload:
    """Return the upload as it is now.  Raises `NoSuchUpload`."""
    return _found(
        fetch_one(
            f"SELECT {_COLUMNS} FROM blobupload u WHERE u.repository_id = %s AND u.uuid = %s",
            (repository_id, upload_uuid),
        ),
        upload_uuid,
    )


_NOTE_CHUNK = f"""
UPDATE blobupload u SET byte_count = byte_count + %s, storage_metadata = %s
    WHERE u.id = %s RETURNING {_COLUMNS}
"""


def note_chunk(upload: Upload, path: str, size: int) -> Upload:
    """Add the chunk at `path`, of `size` bytes, to the end of the upload.

    Raises `NoSuchUpload` if the upload was cancelled or collected meanwhile.  Raises `Contended` if another
    request has added a chunk: read the upload again, and continue at its size.
    """
    noted = json.loads(upload.metadata)
    noted["chunks"].append([path, upload.size, size])
    with transaction():
        row = fetch_one("SELECT storage_metadata FROM blobupload WHERE id = %s FOR UPDATE", (upload.id,))
        if row is not None and row.storage_metadata != upload.metadata:
            raise Contended("Another request added to this upload", upload=upload.uuid)
        return _found(
            fetch_one(_NOTE_CHUNK, (size, json.dumps(noted), upload.id)),
            upload.uuid,
        )


def end_upload(upload: Upload, *, now_ms: int) -> None:
    """End an upload, finished or cancelled, and order the erasing of its chunks.

    Runs one transaction, so a crash leaves either the row or the tombstones.  Idempotent.
    """
    execute(_END, {"id": upload.id, "now": now_ms})


_END = f"""
WITH u AS (
    DELETE FROM blobupload WHERE id = %(id)s RETURNING uuid, location_id, chunk_count, storage_metadata
)
INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)
SELECT p.path, l.name, 0, %(now)s, %(now)s
FROM u JOIN imagestoragelocation l ON l.id = u.location_id CROSS JOIN LATERAL ({PATHS_SQL}) p
"""


def _found(row: Any, upload_uuid: str) -> Upload:
    # Only Quay continues an upload of Quay.  An upload of an older version begins again.
    if row is None or f'"{_NUMBERED}": true' not in (row.metadata or ""):
        raise NoSuchUpload(upload=upload_uuid)
    return Upload(*row)
