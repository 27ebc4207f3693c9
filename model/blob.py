"""Blobs: where they lie, and how a push takes hold of one before its bytes move.

The push protocol, *database reference first, bytes after*:
`begin_push` commits the reference, then the caller sees to the object, then `finish_push`
declares it ready: it writes the placement.  A crash anywhere leaves a marker that expires, and the
collector finds it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from model import digest as digests
from model.db.connection import BigIntArray, execute, fetch, fetch_one, in_transaction, transaction
from model.db.fragments import AT, PLACED, REFERRED, UNTIL
from model.db.tables.repository import RepositoryState
from model.errors import BlobGone, DigestBusy, NoSuchBlob, NoSuchRepository, SchemaMismatch
from model.fence import cancel_tombstone
from model.policy import Policy
from model.storage_paths import object_path

# A request to the object store takes less than this, as a rule.
PATIENCE_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Push:
    """A hold on a blob: its object belongs at `path` in `location`.

    `known`: the row was ready before, with `size` bytes, and its object should be there already.
    """

    repository_id: int
    digest: str
    blob_id: int
    marker_id: int
    location: str
    path: str
    known: bool
    size: int | None


@dataclass(frozen=True)
class FoundBlob:
    """A ready blob of a repository and the locations that hold its object."""

    blob_id: int
    digest: str
    size: int | None
    path: str
    locations: tuple[str, ...]


def begin_push(
    repository_id: int, digest: str, size: int | None, *, location: str, policy: Policy, now_ms: int
) -> Push:
    """Refer to the digest's blob, making its row where there is none, and hold it with a marker.

    One transaction.  While a request for this digest's object may land, it is tried again for
    `PATIENCE_S`, with no transaction open; then it raises `DigestBusy`, with `until_ms` and with nothing
    changed.  Repeating it adds another marker to the same row.
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
        # Two pushes of one digest come one after the other: the second sees the first one's row.
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


def _lock_rows(digest: str, location: str) -> Any:
    """The best of the digest's rows, all of them locked against the review in id order.

    One that a review has just locked is waited for: it is gone then, or stays.
    """
    rows = fetch(
        "SELECT b.id, b.uuid, b.cas_path, b.image_size AS size,"
        " (SELECT l.name FROM imagestorageplacement p JOIN imagestoragelocation l ON l.id = p.location_id"
        "  WHERE p.storage_id = b.id ORDER BY l.name <> %s, l.id LIMIT 1) AS location"
        " FROM imagestorage b WHERE b.content_checksum = %s ORDER BY b.id FOR KEY SHARE OF b",
        (location, digest),
    )
    return min(rows, key=lambda row: (row.location is None, row.id), default=None)


def _insert_blob(digest: str, size: int | None) -> tuple[int, str]:
    blob_uuid = str(uuid.uuid4())
    made = fetch_one(
        "INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)"
        " VALUES (%s, %s, true, true, %s) RETURNING id",
        (blob_uuid, size, digest),
    )
    return made.id, object_path(digest, True, blob_uuid)


def _announce(blob_id: int, location: str, now_ms: int) -> None:
    """Remember where the object is about to be written: should the push die, the review has it erased.

    The placement, which says that the object is there, comes last: readers and a Quay beside us go by it.
    """
    if not execute(
        "INSERT INTO dredge_push (blob_id, location, created_ms)"
        " SELECT %s, name, %s FROM imagestoragelocation WHERE name = %s"
        " ON CONFLICT (blob_id, location) DO UPDATE SET created_ms = excluded.created_ms",
        (blob_id, now_ms, location),
    ):
        raise SchemaMismatch(
            "The database has no such storage location: run `dredge init`", location=location
        )


def _mark(repository_id: int, blob_id: int, now_ms: int, ttl_ms: int) -> int:
    made = fetch_one(
        "INSERT INTO uploadedblob (repository_id, blob_id, uploaded_at, expires_at)"
        f" SELECT r.id, %(blob)s, {AT}, {UNTIL} FROM repository r"
        " WHERE r.id = %(repository)s AND r.state <> %(deleted)s FOR KEY SHARE OF r RETURNING id",
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
    """Hold the blob for another while; raises `BlobGone` where the marker had expired and was collected.

    An upload that takes long calls it now and then.
    """
    if not execute(
        f"UPDATE uploadedblob SET expires_at = greatest(expires_at, {UNTIL}) WHERE id = %(marker)s",
        {"marker": push.marker_id, "until": now_ms + policy.push_ttl_ms},
    ):
        raise BlobGone(digest=push.digest)


def finish_push(push: Push, size: int, *, policy: Policy, now_ms: int) -> None:
    """Declare the blob ready and hold it for the manifest that is to come.

    Call it when the object is in place.  One transaction; raises `BlobGone`, nothing changed, where
    the push took longer than its marker and the row was collected: begin again.
    """
    with transaction():
        extend_push(push, policy=policy, now_ms=now_ms)
        # The marker is ours and locked now, so the row stays.  A row that was ready is left alone: the
        # empty layer's is pushed by everybody, and nobody should queue on it.
        if not push.known or push.size is None:
            execute(_PLACE, {"blob": push.blob_id, "location": push.location, "size": size})


# Nobody reads `uploading` to know what is ready.  A Quay never clears it: a blob of ours is told from a
# blob of a Quay's by it.
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


def release_pushes(pushes: Iterable[Push], *, now_ms: int) -> None:
    """End these holds: the blobs live on only if a manifest or another push refers to them.

    Each becomes a candidate, because nobody else may notice that this reference went.  Repeating
    it changes nothing.
    """
    execute(
        "WITH gone AS (DELETE FROM uploadedblob WHERE id = ANY(%s) RETURNING blob_id, repository_id)"
        " INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms)"
        " SELECT blob_id, repository_id, %s FROM gone",
        (BigIntArray(push.marker_id for push in pushes), now_ms),
    )


def find_blob(repository_id: int, digest: str, *, now_ms: int) -> FoundBlob | None:
    """A ready blob of that digest, if this repository refers to it; None otherwise."""
    return _find(repository_id, digest, now_ms, lock="")


def mount_blob(
    from_repository: int, to_repository: int, digest: str, *, policy: Policy, now_ms: int
) -> FoundBlob:
    """Hold a blob of one repository for another, without its bytes; raises `NoSuchBlob`.

    One transaction: the row is locked against the review before the marker is written, so what is
    mounted has its object, even if the last manifest that used it is being collected.
    """
    with transaction():
        found = _find(from_repository, digest, now_ms, lock=" FOR KEY SHARE OF b")
        if found is None:
            raise NoSuchBlob(digest=digest)
        _mark(to_repository, found.blob_id, now_ms, policy.push_ttl_ms)
    return found


def _find(repository_id: int, digest: str, now_ms: int, *, lock: str) -> FoundBlob | None:
    rows = fetch(
        "SELECT b.id, b.uuid, b.cas_path, b.image_size AS size,"
        " ARRAY(SELECT l.name FROM imagestorageplacement p"
        "  JOIN imagestoragelocation l ON l.id = p.location_id"
        "  WHERE p.storage_id = b.id ORDER BY l.id) AS locations"
        f" FROM imagestorage b WHERE b.content_checksum = %(digest)s AND {PLACED}"
        f" AND {REFERRED} ORDER BY b.id{lock}",
        {"digest": digest, "repository": repository_id, "at": now_ms},
    )
    for row in rows:
        path = object_path(digest, row.cas_path, row.uuid)
        return FoundBlob(row.id, digest, row.size, path, tuple(row.locations))
    return None
