"""One bounded batch of a deleted repository's purge, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

import peewee

from model.controls.breaker import checked
from model.controls.gate import find_open_registry_breaker
from model.db.connection import execute, fetch_one
from model.events import record as events
from model.gc import certificate, history
from model.gc.repository_lock import Scope
from model.human import counted
from model.policy import Policy
from model.purge import quay_queue, state
from model.purge.contents import NOTHING, Contents, purge_contents
from model.purge.lock import DoomedRepository, close_repository, lock_repository
from model.purge.references import Steps, has_rows
from model.purge.state import PurgeBlocked
from model.purge.steps import take_steps

_RUNNING = """
SELECT count(*) AS running FROM dredge_in_use u
JOIN manifest m ON m.repository_id = %(id)s AND m.digest = u.digest
"""


@dataclass(frozen=True)
class PurgeBatch:
    """What one batch deleted; `scope` is None if nobody may purge the repository now.

    `done`: the repository is gone.  `has_more`: another batch has work now.  `stopped`: why the registry's
    breaker forbids it; empty if it does not.
    """

    scope: Scope | None = None
    contents: Contents = NOTHING
    rows: int = 0
    done: bool = False
    has_more: bool = False
    stopped: str = ""


def purge_repository_batch(repository_id: int, *, steps: Steps, policy: Policy, limit: int) -> PurgeBatch:
    """Delete about `limit` rows of a deleted repository, and the repository itself with the last of them.

    Deletes in this order: tags, manifests, uploads, everything else that refers to the repository, its
    marker, its row.  Each batch is one transaction with its events and its quota.  Idempotent: after a
    crash another run continues.  Raises `PurgeBlocked`, with nothing deleted, if a foreign key without a
    rule refers to the repository.
    """
    try:
        return checked(policy, lambda: _batch(repository_id, steps, policy, limit))
    except peewee.IntegrityError as error:
        raise PurgeBlocked(f"The repository cannot be purged: {error}".strip()) from error


def _batch(repository_id: int, steps: Steps, policy: Policy, limit: int) -> PurgeBatch:
    with certificate.certified_transaction():
        if stopped := find_open_registry_breaker(policy):
            return PurgeBatch(stopped=stopped)
        doomed = lock_repository(repository_id, policy=policy)
        if doomed is None:
            return PurgeBatch()
        _refuse_unknown(steps, doomed)
        _refuse_running(doomed)
        return _purge(doomed, steps, policy, limit)


def _refuse_unknown(steps: Steps, doomed: DoomedRepository) -> None:
    columns = steps.find_unknown_rows(doomed.scope.repository_id) if steps.unknown else []
    if columns:
        raise PurgeBlocked(
            f"{', '.join(columns)} refers to the repository, and Dredge has no rule for it:"
            " delete those rows, or update dredge",
            repository=doomed.scope.full_name,
        )


def _refuse_running(doomed: DoomedRepository) -> None:
    """Raise `PurgeBlocked` before the first batch if a manifest is in use.  Later batches skip those."""
    if doomed.begun:
        return
    running = fetch_one(_RUNNING, {"id": doomed.scope.repository_id}).running
    if running:
        raise PurgeBlocked(
            f"containers run {counted(running, 'manifest')} of it: stop them, or restore the repository",
            repository=doomed.scope.full_name,
        )


def _purge(doomed: DoomedRepository, steps: Steps, policy: Policy, limit: int) -> PurgeBatch:
    scope = doomed.scope
    if not doomed.begun:
        state.begin("repository", scope.repository_id, now_ms=scope.now_ms)
    contents = purge_contents(scope, policy=policy, limit=limit)
    rows, done = contents.rows, False
    if rows < limit:
        rows += take_steps(steps, scope.repository_id, limit=limit - rows)
    if rows < limit and close_repository(scope.repository_id) and not _is_referred_to(steps, scope):
        _delete(doomed)
        done = True
    else:
        state.add("repository", scope.repository_id, tags=contents.tags, manifests=len(contents.manifests))
    _tell(doomed, contents, rows + done, policy, done=done)
    return PurgeBatch(scope, contents, rows + done, done, has_more=not done and rows > 0)


def _is_referred_to(steps: Steps, scope: Scope) -> bool:
    """Call it under the repository's lock: it sees older references, and no new one can be added."""
    return any(has_rows(step, scope.repository_id) for step in (*steps.collected, *steps.own))


def _delete(doomed: DoomedRepository) -> None:
    """Delete the row, its marker, and Dredge's rows about them."""
    params = (doomed.scope.repository_id,)
    quay_queue.remove(doomed.queue_id)
    execute("DELETE FROM dredge_manifest_candidate WHERE repository_id = %s", params)
    state.forget("repository", doomed.scope.repository_id)
    execute("DELETE FROM deletedrepository WHERE repository_id = %s", params)
    # Safe: it is marked for deletion, its grace is over, it is locked, and nothing refers to it.
    execute("DELETE FROM repository WHERE id = %s", params)


def _tell(doomed: DoomedRepository, contents: Contents, rows: int, policy: Policy, *, done: bool) -> None:
    """Write history, certificate and events, in the batch's own transaction."""
    if not rows:
        return
    scope = doomed.scope
    sealed = certificate.seal(
        "purge",
        [(id, scope.repository_id, doomed.since_ms) for id in contents.manifest_ids],
        [digest for digest, _ in contents.manifests],
        windows_ms={scope.repository_id: doomed.waits_ms},
        policy=policy,
        started_ms=scope.now_ms,
    )
    history.record_purge(
        scope.repository_id,
        sealed,
        started_ms=scope.now_ms,
        tags=contents.tags,
        manifests=len(contents.manifests),
        rows=rows,
    )
    found = _new_events(scope, contents, done=done)
    if found:
        events.record_all(found, now_ms=scope.now_ms)


def _new_events(scope: Scope, contents: Contents, *, done: bool) -> list[events.NewEvent]:
    about = {
        "namespace": scope.namespace,
        "repository": scope.repository,
        "repository_id": scope.repository_id,
    }
    found = []
    if contents.manifests:
        items = [
            {"subject": f"{scope.full_name}@{digest}", "digest": digest, "referred": subject}
            for digest, subject in contents.manifests
        ]
        data = {**about, "blobs": contents.blobs, "items": items}
        found.append(events.NewEvent(events.MANIFEST_COLLECTED, scope.full_name, data, scope.repository_id))
    if done:
        found.append(events.NewEvent(events.REPOSITORY_PURGED, scope.full_name, about, scope.repository_id))
    return found
