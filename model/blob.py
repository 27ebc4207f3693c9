"""Blobs: where their objects are, and how a push protects a blob before it writes bytes.

The push protocol is *database reference first, bytes after*: `begin_push` commits the reference, then the
caller makes sure that the object exists, then `finish_push` writes the placement, which makes the blob
ready.  A crash at any point leaves a marker that expires, and the collector finds it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from model import digest as digests
from model.blob_list import FoundBlob, find_blob
from model.db.arrays import BigIntArray
from model.db.connection import execute, fetch, fetch_one, in_transaction, transaction
from model.db.fragments import AT, UNTIL
from model.db.tables.repository import RepositoryState
from model.errors import BlobGone, DigestBusy, NoSuchBlob, NoSuchRepository, SchemaMismatch
from model.fence import cancel_tombstone
from model.policy import Policy
from model.storage_paths import object_path

# Seconds to wait for a fence.  A request to the object store usually takes less.
PATIENCE_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Push:
    """The protection of a blob by a push.  Its object belongs at `path` in `location`.

    `known`: the blob was ready before, with `size` bytes, so its object should exist already.
    """

    repository_id: int
    digest: str
    blob_id: int
    marker_id: int
    location: str
    path: str
    known: bool
    size: int | None


def begin_push(
    repository_id: int, digest: str, size: int | None, *, location: str, policy: Policy, now_ms: int
) -> Push:
    """Protect the digest's blob with a marker; insert the blob's row if there is none.

    Runs one transaction.  While a request for this digest's object may still be carried out, tries again for
    `PATIENCE_S`, with no transaction open; then raises `DigestBusy`, with `until_ms` and with nothing
    changed.  A second call adds another marker to the same row.
    """
    digests.checked(digest)
    started = time.monotonic()
    while True:
        waited_s = time.monotonic() - started
        try:
            return _begin(repository_id, digest, size, location, policy, now_ms + int(1000 * waited_s))
        except DigestBusy:
            if waited_s >= PATIENCE_S or in_transaction():
                raise
        time.sleep(_POLL_S)


def _begin(
    repository_id: int, digest: str, size: int | None, location: str, policy: Policy, now_ms: int
) -> Push:
    with transaction():
        # Two pushes of one digest run one after the other: the second sees the row of the first.
        execute("SELECT pg_advisory_xact_lock(hashtextextended('dredge.digest:' || %s, 0))", (digest,))
        found = _lock_rows(digest, location)
        if found is None:
            blob_id, path = _insert_blob(digest, size)
            held, known, size = location, False, None
        else:
            blob_id, path = found.id, object_path(digest, found.cas_path, found.uuid)
            held, known, size = found.location or location, found.location is not None, found.size
        if not known:
            _announce(blob_id, held, now_ms)
        cancel_tombstone(digest, path, held, now_ms)
        marker = _mark(repository_id, blob_id, now_ms, policy.push_ttl_ms)
    return Push(repository_id, digest, blob_id, marker, held, path, known, size)


_LOCK_ROWS = """
SELECT b.id, b.uuid, b.cas_path, b.image_size AS size,
    (SELECT l.name FROM imagestorageplacement p JOIN imagestoragelocation l ON l.id = p.location_id
    WHERE p.storage_id = b.id ORDER BY l.name <> %s, l.id LIMIT 1) AS location
    FROM imagestorage b WHERE b.content_checksum = %s ORDER BY b.id FOR KEY SHARE OF b
"""


def _lock_rows(digest: str, location: str) -> Any:
    """Lock all rows of the digest against the review, in id order.  Returns the best of them.

    Waits for a review that has locked one; after that the row is gone, or it stays.
    """
    rows = fetch(_LOCK_ROWS, (location, digest))
    return min(rows, key=lambda row: (row.location is None, row.id), default=None)


_INSERT_BLOB = """
INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
    VALUES (%s, %s, true, true, %s) RETURNING id
"""


def _insert_blob(digest: str, size: int | None) -> tuple[int, str]:
    blob_uuid = str(uuid.uuid4())
    made = fetch_one(_INSERT_BLOB, (blob_uuid, size, digest))
    return made.id, object_path(digest, True, blob_uuid)


_ANNOUNCE = """
INSERT INTO dredge_push (blob_id, location, created_ms)
    SELECT %s, name, %s FROM imagestoragelocation WHERE name = %s
    ON CONFLICT (blob_id, location) DO UPDATE SET created_ms = excluded.created_ms
"""


def _announce(blob_id: int, location: str, now_ms: int) -> None:
    """Write a row with the place of the object.  If the push dies, the review orders its erasing.

    The placement is written last, because readers and a Quay take it as proof that the object exists.
    """
    if not execute(_ANNOUNCE, (blob_id, now_ms, location)):
        raise SchemaMismatch(
            "The database has no such storage location: run `dredge init`", location=location
        )


_MARK = f"""
INSERT INTO uploadedblob (repository_id, blob_id, uploaded_at, expires_at)
    SELECT r.id, %(blob)s, {AT}, {UNTIL} FROM repository r
    WHERE r.id = %(repository)s AND r.state <> %(deleted)s FOR KEY SHARE OF r RETURNING id
"""


def _mark(repository_id: int, blob_id: int, now_ms: int, ttl_ms: int) -> int:
    made = fetch_one(
        _MARK,
        {
            "repository": repository_id,
            "deleted": RepositoryState.MARKED_FOR_DELETION.value,
            "blob": blob_id,
            "at": now_ms,
            "until": now_ms + ttl_ms,
        },
    )
    if made is None:
        raise NoSuchRepository(repository_id=repository_id)
    return int(made.id)


def extend_push(push: Push, *, policy: Policy, now_ms: int) -> None:
    """Extend the marker by `policy.push_ttl_ms`.  Raises `BlobGone` if it had expired and was collected.

    A long upload calls it from time to time.
    """
    if not execute(
        f"UPDATE uploadedblob SET expires_at = greatest(expires_at, {UNTIL}) WHERE id = %(marker)s",
        {"marker": push.marker_id, "until": now_ms + policy.push_ttl_ms},
    ):
        raise BlobGone(digest=push.digest)


def finish_push(push: Push, size: int, *, policy: Policy, now_ms: int) -> None:
    """Make the blob ready, and protect it until its manifest is pushed.

    Call it when the object is in place.  Runs one transaction.  Raises `BlobGone`, with nothing changed, if
    the marker had expired and the row was collected; then begin again.
    """
    with transaction():
        extend_push(push, policy=policy, now_ms=now_ms)
        # The marker is ours and locked now, so the row stays.  A row that was ready is not changed: all
        # clients push the empty layer, and must not wait for each other.
        if not push.known or push.size is None:
            execute(_PLACE, {"blob": push.blob_id, "location": push.location, "size": size})


# `uploading` does not say whether a blob is ready.  Quay never clears it, so it tells Dredge's blobs from
# Quay's.
_PLACE = """
WITH announced AS (
    DELETE FROM dredge_push WHERE blob_id = %(blob)s AND location = %(location)s
), sized AS (
    UPDATE imagestorage SET image_size = %(size)s, uploading = false
    WHERE id = %(blob)s AND (image_size IS DISTINCT FROM %(size)s OR uploading IS NOT FALSE)
)
INSERT INTO imagestorageplacement (storage_id, location_id)
SELECT %(blob)s, l.id FROM imagestoragelocation l WHERE l.name = %(location)s
ON CONFLICT (storage_id, location_id) DO NOTHING
"""


_RELEASE = """
WITH gone AS (DELETE FROM uploadedblob WHERE id = ANY(%s) RETURNING blob_id, repository_id)
    INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms)
    SELECT blob_id, repository_id, %s FROM gone
"""


def release_pushes(pushes: Iterable[Push], *, now_ms: int) -> None:
    """Delete the markers of these pushes.  A blob lives on if a manifest or another push refers to it.

    Each blob becomes a candidate, because no other code may notice that this reference is gone.
    Idempotent.
    """
    execute(_RELEASE, (BigIntArray(push.marker_id for push in pushes), now_ms))


def mount_blob(
    from_repository: int, to_repository: int, digest: str, *, policy: Policy, now_ms: int
) -> FoundBlob:
    """Protect a blob of one repository for a push into another, without its bytes.  Raises `NoSuchBlob`.

    Runs one transaction.  Locks the row against the review before it writes the marker, so a mounted blob
    has its object, even if the last manifest that used it is collected at the same time.
    """
    with transaction():
        found = find_blob(from_repository, digest, now_ms=now_ms, lock=True)
        if found is None:
            raise NoSuchBlob(digest=digest)
        _mark(to_repository, found.blob_id, now_ms, policy.push_ttl_ms)
    return found
