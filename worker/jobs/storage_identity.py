"""Verify that a location is the store whose objects the rows describe, before anything is erased there."""

from __future__ import annotations

import re
import uuid

from model.db.clock import now_ms
from model.gc.orphans.objects import find_some_objects
from model.gc.storage_identity import (
    RecordedStorage,
    find_suspended,
    read_storage,
    record_identity,
    suspend_location,
)
from model.gc.tombstones import find_tombstone_locations
from worker import logs
from worker.jobs.isolation import is_of_an_item
from worker.storage.answers import NOT_A_STORE
from worker.storage.base import Store, Stores, StoreUnavailable

log = logs.logger("dredge.storage")

PROBES = 20
# What this module writes; a server that answers 200 with a text of its own to any request is not a store.
_IDENTITY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_MISSING = "it does not show its identity: it is empty, not mounted, or another place than before"
_STRANGE = f"its object dredge-identity was not written by Dredge: {NOT_A_STORE}"
UNKNOWN = "no object that the rows know is there: is it empty, not mounted, or another registry's storage?"


def verify_location(stores: Stores, location: str) -> str:
    """Return why nothing may be erased at a location, or an empty text if it is the right store.

    Records the result: a location with a problem is suspended until the right store is back.  Writes an
    identity to a store that is verified for the first time.  An error of any kind from the store's driver is
    a problem of this location only.  Idempotent.
    """
    recorded = read_storage().get(location)
    store = stores[location]
    try:
        problem, identity = _judge(store, location, recorded)
        address = store.address
    except Exception as error:  # noqa: BLE001  a location's driver stops no other location
        problem, identity, address = store_problem(error), "", recorded.address if recorded else ""
    if problem:
        if recorded is None or recorded.problem != problem:
            log.warning("location.suspended", location=location, problem=problem)
            suspend_location(location, address=address, problem=problem, now_ms=now_ms())
    elif recorded is None or recorded.problem or recorded.identity != identity:
        log.info("location.verified", location=location, identity=identity)
        record_identity(location, address=address, identity=identity)
    return problem


def find_problems(stores: Stores) -> dict[str, str]:
    """Return the locations at which nothing is erased, and why; only reads.

    They are suspended, or will be by the next turn of the eraser or the sweep, because their store does not
    show the recorded identity.  One whose right store is back is left out: the next turn ends its suspension.
    """
    problems = {}
    for location, recorded in read_storage().items():
        problem = recorded.problem or ""
        if location in stores and recorded.identity:
            try:
                problem = _judge(stores[location], location, recorded)[0]
            except Exception as error:  # noqa: BLE001  a location's driver stops no other location
                problem = store_problem(error)
        if problem:
            problems[location] = problem
    return dict(sorted(problems.items()))


def verify_suspended(stores: Stores) -> None:
    """Verify the suspended locations again; one whose right store is back is suspended no longer."""
    for each in find_suspended():
        if each.location in stores:
            verify_location(stores, each.location)


def find_waiting() -> list[RecordedStorage]:
    """Return the suspended locations at which objects wait to be erased; only reads."""
    places = find_tombstone_locations()
    return [each for each in find_suspended() if each.location in places]


def _judge(store: Store, location: str, recorded: RecordedStorage | None) -> tuple[str, str]:
    """Return (problem, identity); one of them is empty."""
    shown = store.read_identity()
    if shown is not None and not _IDENTITY.fullmatch(shown):
        return _STRANGE, ""
    known = recorded.identity if recorded else None
    if known:
        if shown is None:
            return _MISSING, ""
        return ("", known) if shown == known else (f"it is another store: it shows the identity {shown}", "")
    # First verification: an object that the rows reference must exist here before an identity is written.
    if not proven(store, location):
        return UNKNOWN, ""
    return "", shown or store.write_identity(str(uuid.uuid4()))


def doubt(stores: Stores, location: str) -> str:
    """Return why an object that is missing at a location may not be gone, or an empty text.

    The store must show its identity, and an object that the rows reference.
    """
    if wrong := verify_location(stores, location):
        return wrong
    try:
        if proven(stores[location], location):
            return ""
    except Exception as error:  # noqa: BLE001  a location's driver stops no other location
        return store_problem(error)
    return "it is not there, and neither is any object that the rows know"


def store_problem(error: Exception) -> str:
    """Return what an error of a store's driver says.  Raises errors of the database, which concern all."""
    if isinstance(error, StoreUnavailable):
        return str(error)
    if not is_of_an_item(error):
        raise error
    return f"{type(error).__name__}: {error}"


def proven(store: Store, location: str) -> bool:
    """Return whether the store has an object that the rows reference, or the rows reference none at all."""
    paths = find_some_objects(location, limit=PROBES)
    return not paths or any(store.size(path) is not None for path in paths)
