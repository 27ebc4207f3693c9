"""One bounded batch of a deleted namespace's purge, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

import peewee

from model.controls.breaker import checked
from model.controls.gate import find_open_registry_breaker
from model.counts import Counts
from model.db.connection import execute, fetch, fetch_one, transaction
from model.db.tables import RepositoryState
from model.events import record as events
from model.policy import Policy
from model.purge import quay_queue, state
from model.purge.lock import DoomedNamespace, close_namespace, lock_namespace
from model.purge.references import Steps, has_rows
from model.purge.state import PurgeBlocked
from model.purge.steps import take_steps

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)

# Marks the repositories, each with a marker row.  Then they are purged like every deleted repository.
_MARK_REPOSITORIES = f"""
WITH chosen AS MATERIALIZED (
    SELECT id, name FROM repository WHERE namespace_user_id = %(id)s AND state <> {_MARKED}
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE repository SET state = {_MARKED}, name = gen_random_uuid()::text
    WHERE id = ANY(ARRAY(SELECT id FROM chosen)) RETURNING 1
), markers AS (
    INSERT INTO deletedrepository (repository_id, marked, original_name)
    SELECT id, to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC', name FROM chosen
    ON CONFLICT (repository_id) DO NOTHING
)
SELECT (SELECT count(*) FROM marked) AS marked,
       EXISTS (SELECT FROM repository WHERE namespace_user_id = %(id)s) AS any_left
"""

# The robots of the namespace's old name.  Robots that were created after the deletion belong to a new
# namespace of the same name.
_ROBOTS = """
SELECT r.id FROM "user" r
WHERE r.robot AND starts_with(r.username, %(prefix)s)
  AND CASE WHEN r.creation_date IS NOT NULL
           THEN r.creation_date <= to_timestamp(%(marked_ms)s / 1000.0) AT TIME ZONE 'UTC'
           ELSE NOT EXISTS (SELECT FROM "user" n WHERE n.username = %(name)s) END
ORDER BY r.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""


@dataclass(frozen=True)
class NamespacePurge(Counts):
    """What one batch did.  The namespace waits for the purges of its `marked` repositories.

    `stopped`: why the registry's breaker forbids it; empty if it does not.
    """

    marked: int = 0
    rows: int = 0
    waiting: bool = False
    done: bool = False
    has_more: bool = False
    stopped: str = ""


def purge_namespace_batch(namespace_id: int, *, steps: Steps, policy: Policy, limit: int) -> NamespacePurge:
    """Mark at most `limit` repositories of a deleted namespace; after their purge, delete its other rows.

    The other rows are robots, everything that refers to the namespace, its marker, and its own row: about
    `limit` rows in a batch.  Idempotent: after a crash another run continues.  Raises `PurgeBlocked`, with
    nothing changed, if a foreign key without a rule refers to the namespace.
    """
    try:
        return checked(policy, lambda: _batch(namespace_id, steps, policy, limit))
    except peewee.IntegrityError as error:
        raise PurgeBlocked(f"The namespace cannot be purged: {error}".strip()) from error


def _batch(namespace_id: int, steps: Steps, policy: Policy, limit: int) -> NamespacePurge:
    with transaction():
        if stopped := find_open_registry_breaker(policy):
            return NamespacePurge(stopped=stopped)
        doomed = lock_namespace(namespace_id, policy=policy)
        if doomed is None:
            return NamespacePurge()
        _refuse_unknown(steps, doomed.namespace_id, doomed.name)
        return _purge(doomed, steps, limit)


def _refuse_unknown(steps: Steps, user_id: int, name: str) -> None:
    columns = steps.find_unknown_rows(user_id) if steps.unknown else []
    if columns:
        raise PurgeBlocked(
            f"{', '.join(columns)} refers to the namespace, and Dredge has no rule for it: delete those rows,"
            " or update dredge",
            namespace=name,
        )


def _purge(doomed: DoomedNamespace, steps: Steps, limit: int) -> NamespacePurge:
    if not doomed.begun:
        state.begin("namespace", doomed.namespace_id, now_ms=doomed.now_ms)
    params = {"id": doomed.namespace_id, "now_ms": doomed.now_ms, "limit": limit}
    found = fetch_one(_MARK_REPOSITORIES, params)
    if found.any_left:
        return NamespacePurge(found.marked, found.marked, waiting=True, has_more=found.marked == limit)
    rows = _purge_robots(doomed, steps, limit)
    if rows < limit:
        rows += take_steps(steps, doomed.namespace_id, limit=limit - rows)
    if rows < limit and close_namespace(doomed.namespace_id) and not _is_referred_to(steps, doomed):
        _delete(doomed)
        return NamespacePurge(rows=rows + 1, done=True)
    return NamespacePurge(rows=rows, has_more=rows > 0)


def _purge_robots(doomed: DoomedNamespace, steps: Steps, limit: int) -> int:
    params = {
        "prefix": f"{doomed.name}+",
        "name": doomed.name,
        "marked_ms": doomed.marked_ms,
        "limit": limit,
    }
    rows = 0
    for robot in fetch(_ROBOTS, params):
        _refuse_unknown(steps, robot.id, doomed.name)
        rows += take_steps(steps, robot.id, limit=limit - rows)
        if rows >= limit:
            return rows
        # Safe: the robot is locked, its namespace's grace is over, and what referred to it was just deleted.
        # A new reference makes this statement fail, and the batch is rolled back.
        rows += execute('DELETE FROM "user" WHERE id = %s AND robot', (robot.id,))
    return rows


def _is_referred_to(steps: Steps, doomed: DoomedNamespace) -> bool:
    """Call it under the namespace's lock: it sees older references, and no new one can be added."""
    return any(has_rows(step, doomed.namespace_id) for step in steps.own)


def _delete(doomed: DoomedNamespace) -> None:
    params = (doomed.namespace_id,)
    quay_queue.remove(doomed.queue_id)
    state.forget("namespace", doomed.namespace_id)
    execute("DELETE FROM deletednamespace WHERE namespace_id = %s", params)
    # Safe: it is disabled and marked, its grace is over, it is locked, and nothing refers to it.
    execute('DELETE FROM "user" WHERE id = %s', params)
    events.record(
        events.NAMESPACE_PURGED,
        subject=doomed.name,
        data={"namespace": doomed.name, "namespace_id": doomed.namespace_id},
        now_ms=doomed.now_ms,
    )
