"""The recorded identity of each storage location, and which locations are suspended."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.backoff import shortened
from model.db.connection import execute, fetch, transaction
from model.events import record as events


@dataclass(frozen=True)
class RecordedStorage:
    """A location as it was first seen.  If it has a `problem`, it is suspended since `problem_since_ms`."""

    location: str
    address: str
    identity: str | None
    problem: str | None
    problem_since_ms: int | None


_RECORD = """
INSERT INTO dredge_storage AS s (location, address, identity) VALUES (%s, %s, %s)
ON CONFLICT (location) DO UPDATE SET address = excluded.address, identity = excluded.identity,
    problem = NULL, problem_since_ms = NULL
"""

_SUSPEND = """
INSERT INTO dredge_storage AS s (location, address, problem, problem_since_ms)
VALUES (%(location)s, %(address)s, %(problem)s, %(now_ms)s)
ON CONFLICT (location) DO UPDATE SET problem = excluded.problem,
    problem_since_ms = coalesce(s.problem_since_ms, excluded.problem_since_ms)
"""


def read_storage() -> dict[str, RecordedStorage]:
    """Return every location that was ever verified, by name; only reads."""
    rows = fetch("SELECT location, address, identity, problem, problem_since_ms FROM dredge_storage")
    return {row.location: RecordedStorage(*row) for row in rows}


def record_identity(location: str, *, address: str, identity: str) -> None:
    """Record the identity of a location, and end its suspension.  Idempotent."""
    execute(_RECORD, (location, address, identity))


def suspend_location(location: str, *, address: str, problem: str, now_ms: int) -> None:
    """Suspend a location and note why.  `problem_since_ms` keeps the time of the first problem.

    Records `registry.location.suspended`.
    """
    problem = shortened(problem)
    with transaction():
        execute(_SUSPEND, {"location": location, "address": address, "problem": problem, "now_ms": now_ms})
        data = {"location": location, "address": address, "reason": problem}
        events.record(events.LOCATION_SUSPENDED, subject=location, data=data, now_ms=now_ms)


def find_suspended() -> list[RecordedStorage]:
    """Return the suspended locations, by name; only reads."""
    return [each for _, each in sorted(read_storage().items()) if each.problem]


# Quay never clears `uploading` of its blobs; Dredge always does.
_FOREIGN = """
SELECT EXISTS (
    SELECT FROM (SELECT id, uploading FROM imagestorage ORDER BY id DESC LIMIT 500) b
    WHERE b.uploading IS NOT FALSE AND EXISTS (SELECT FROM manifestblob m WHERE m.blob_id = b.id)
) AS found
"""


def others_write() -> bool:
    """Return whether other software wrote some of the newest blobs in use; only reads."""
    return bool(fetch(_FOREIGN)[0].found)
