"""One bounded batch of a repository's collection, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from model.controls.gate import find_hold
from model.db.connection import transaction
from model.db.prepared import run_one
from model.errors import Contended
from model.events import record as events
from model.gc import history
from model.gc.manifests.judge import judge, read_manifest_uses
from model.gc.manifests.purge import Purged, find_adjacent, purge_manifests
from model.gc.quota import settle_blobs
from model.gc.repository_lock import Scope, lock_repository
from model.gc.tags import BEGINNING_MS, Expired, ExpiredUploads, purge_expired_tags, purge_expired_uploads
from model.manifest.candidate import judge_later, judge_next
from model.policy import Policy


@dataclass(frozen=True)
class Batch:
    """What one batch removed; `scope` is None where there was nothing to do or nobody may.

    `stopped` says in words why nothing may be removed now, where an operator's control forbids it;
    `manifests` are (digest, subject or None), `blobs` the digests that left the repository, `blob_candidates`
    how many candidates wait for the review, `has_more` whether another batch has work now.
    """

    scope: Scope | None = None
    tags: int = 0
    manifests: tuple[tuple[str, str | None], ...] = ()
    blobs: tuple[str, ...] = ()
    blob_candidates: int = 0
    uploads: int = 0
    rows: int = 0
    reports: bool = False
    reached_ms: int = BEGINNING_MS
    has_more: bool = False
    stopped: str = ""


def collect_batch(repository_id: int, *, policy: Policy, limit: int, from_ms: int = BEGINNING_MS) -> Batch:
    """Remove at most `limit` unrecoverable tags (ended at `from_ms` or later) and all that dies with them.

    One transaction and a constant number of statements: tags, then the manifests nothing uses any
    more, then every row that follows them; their blobs become candidates.  A crash at any
    point leaves all or nothing of it.  A second run, or two at once, find what is left or nothing.
    Raises `Contended` or `DatabaseUnavailable`; both may be tried again.
    """
    with transaction():
        scope = lock_repository(repository_id)
        if scope is None:
            return Batch()
        if stopped := _find_stop(scope, policy):
            return Batch(stopped=stopped)
        expired = purge_expired_tags(scope, policy=policy, limit=limit, from_ms=from_ms)
        uploads = (
            purge_expired_uploads(scope, policy=policy, limit=limit)
            if scope.has_uploads
            else ExpiredUploads()
        )
        purged, unjudged = _purge_dead(scope, expired, policy=policy)
        if unjudged:
            judge_next(unjudged, now_ms=scope.now_ms)
        blobs = settle_blobs(scope, purged.blob_ids) if purged.blob_ids else ()
        batch = _batch(scope, expired, uploads, purged, blobs, policy)
        if batch.rows:
            _close(scope, batch)
        return batch


def _find_stop(scope: Scope, policy: Policy) -> str:
    if policy.ignores_holds:
        return ""
    return find_hold(namespace_id=scope.namespace_id, repository_id=scope.repository_id)


def _purge_dead(scope: Scope, expired: Expired, *, policy: Policy) -> tuple[Purged, tuple[int, ...]]:
    """Judge what is locked, purge the dead; and which manifests the next batch must read_manifest_uses at."""
    if not expired.locked:
        return Purged(), expired.unjudged
    uses = read_manifest_uses(scope, expired.locked, policy=policy)
    dead = judge(uses)
    # No tag would lead back to a referrer that only waits for its subject: its own never ends.
    waiting = {
        use.id: use.waits_until_ms
        for use in uses
        if use.id not in dead and use.waits_until_ms and use.waits_until_ms > scope.now_ms
    }
    if waiting:
        judge_later(scope.repository_id, waiting, now_ms=scope.now_ms)
    if not dead:
        return Purged(), expired.unjudged
    beyond = find_adjacent(dead) if expired.truncated else ()
    return purge_manifests(scope, dead, policy=policy), (*expired.unjudged, *beyond)


def _batch(
    scope: Scope,
    expired: Expired,
    uploads: ExpiredUploads,
    purged: Purged,
    blobs: tuple[str, ...],
    policy: Policy,
) -> Batch:
    return Batch(
        scope=scope,
        tags=expired.tags + purged.tags,
        manifests=purged.manifests,
        blobs=(*blobs, *uploads.blobs),
        blob_candidates=len(purged.blob_ids) + uploads.markers,
        uploads=uploads.uploads,
        rows=expired.rows + uploads.markers + uploads.uploads + purged.rows,
        reached_ms=expired.reached_ms,
        reports=policy.security_reports and bool(purged.manifests),
        has_more=expired.has_more or uploads.has_more or (expired.truncated and bool(purged.manifests)),
    )


# FOR SHARE, and the last statement before the commit: somebody who lengthens the window either
# committed before, is seen here, and this batch is rolled back; or waits the instant until it has committed.
_CLOSE = f"""
WITH {events.MADE}, noted AS ({history.INSERT})
SELECT n.removed_tag_expiration_s * 1000 AS window_ms, {events.WAKE} AS woken
FROM "user" n WHERE n.id = %(namespace_id)s FOR SHARE
"""


def _close(scope: Scope, batch: Batch) -> None:
    """History and events, in the batch's own transaction, if its recovery window is still the same."""
    row = run_one(
        _CLOSE,
        {
            "namespace_id": scope.namespace_id,
            **events.parameters(
                _new_events(scope, batch), repository_id=scope.repository_id, now_ms=scope.now_ms
            ),
            **history.parameters(
                "collect",
                started_ms=scope.now_ms,
                repository_id=scope.repository_id,
                tags=batch.tags,
                manifests=len(batch.manifests),
                rows=batch.rows,
            ),
        },
    )
    if row is None or row.window_ms > scope.window_ms:
        raise Contended("The recovery window was lengthened while a batch ran.", repository=scope.full_name)


def _new_events(scope: Scope, batch: Batch) -> list[events.NewEvent]:
    about = {
        "namespace": scope.namespace,
        "repository": scope.repository,
        "repository_id": scope.repository_id,
    }
    counts = {"tags": batch.tags, "manifests": len(batch.manifests), "rows": batch.rows}
    told = [events.NewEvent(events.REPOSITORY_COLLECTED, scope.full_name, {**about, **counts})]
    if batch.manifests:
        items = [
            {"subject": f"{scope.full_name}@{digest}", "digest": digest, "referred": subject}
            for digest, subject in batch.manifests
        ]
        data = {**about, "blobs": batch.blobs, "items": items}
        told.insert(0, events.NewEvent(events.MANIFEST_COLLECTED, scope.full_name, data))
    return told
