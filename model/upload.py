"""Resumable uploads: a row says how far one has come, its chunks lie under `uploads/`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from model.db.connection import execute, fetch_one, transaction
from model.db.fragments import AT
from model.db.tables.repository import RepositoryState
from model.errors import Contended, NoSuchRepository, NoSuchUpload

# Says that the chunks are named by `chunk_path`: a Quay's uploads keep theirs elsewhere.
METADATA = '{"chunks": "numbered"}'

_COLUMNS = (
    "u.id, u.uuid, u.repository_id, (SELECT l.name FROM imagestoragelocation l WHERE l.id = u.location_id)"
    " AS location, u.byte_count AS size, u.chunk_count AS chunks"
)


@dataclass(frozen=True)
class Upload:
    """An upload as of one statement: `size` bytes in `chunks` chunks so far."""

    id: int
    uuid: str
    repository_id: int
    location: str
    size: int
    chunks: int

    @property
    def paths(self) -> tuple[str, ...]:
        """Return where its chunks lie, in order."""
        return tuple(chunk_path(self.uuid, number) for number in range(self.chunks))


def chunk_path(upload_uuid: str, number: int) -> str:
    """Return where a chunk lies: known from the row before it is written, so that none can be lost."""
    return f"uploads/{upload_uuid}-{number}"


def begin_upload(repository_id: int, *, location: str, now_ms: int) -> Upload:
    """Open an upload into a repository; it is garbage `policy.upload_ttl_ms` after that."""
    made = fetch_one(
        "INSERT INTO blobupload AS u (repository_id, uuid, byte_count, location_id, storage_metadata,"
        f" chunk_count, created) SELECT r.id, %(uuid)s, 0, l.id, %(metadata)s, 0, {AT}"
        " FROM repository r JOIN imagestoragelocation l ON l.name = %(location)s"
        f" WHERE r.id = %(repository)s AND r.state <> %(deleted)s FOR KEY SHARE OF r RETURNING {_COLUMNS}",
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
    """The upload as it is now; raises `NoSuchUpload`."""
    return _found(
        fetch_one(
            f"SELECT {_COLUMNS} FROM blobupload u WHERE u.repository_id = %s AND u.uuid = %s",
            (repository_id, upload_uuid),
        ),
        upload_uuid,
    )


def note_chunk(upload: Upload, size: int) -> Upload:
    """The next chunk, of `size` bytes, is in place.

    Raises `NoSuchUpload` where the upload was cancelled or collected meanwhile, and `Contended` where
    another request added to it: ask how far it is, and go on from there.
    """
    with transaction():
        row = fetch_one("SELECT chunk_count FROM blobupload WHERE id = %s FOR UPDATE", (upload.id,))
        if row is not None and row.chunk_count != upload.chunks:
            raise Contended("Another request added to this upload", upload=upload.uuid)
        return _found(
            fetch_one(
                "UPDATE blobupload u SET byte_count = byte_count + %s, chunk_count = chunk_count + 1"
                f" WHERE u.id = %s RETURNING {_COLUMNS}",
                (size, upload.id),
            ),
            upload.uuid,
        )


def end_upload(upload: Upload, *, now_ms: int) -> None:
    """Close an upload, finished or cancelled; its chunks are left to the eraser.

    One transaction, so that a crash leaves either the row or the order to erase.  Again: nothing.
    """
    execute(
        "WITH gone AS (DELETE FROM blobupload WHERE id = %(id)s RETURNING uuid, location_id, chunk_count)"
        " INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)"
        # One more than were noted: the next may have been written.
        " SELECT 'uploads/' || g.uuid || '-' || n, l.name, 0, %(now)s, %(now)s"
        " FROM gone g JOIN imagestoragelocation l ON l.id = g.location_id,"
        " generate_series(0, g.chunk_count) n",
        {"id": upload.id, "now": now_ms},
    )


def _found(row: Any, upload_uuid: str) -> Upload:
    if row is None:
        raise NoSuchUpload(upload=upload_uuid)
    return Upload(*row)
