"""One bounded batch of the collection of repositories, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.controls.breaker import checked
from model.controls.gate import find_holds, find_open_breakers, outside_of_window
from model.db.arrays import IntArray
from model.db.prepared import run
from model.errors import Contended
from model.events import record as events
from model.gc import certificate, history
from model.gc.due.attempt import settle
from model.gc.manifests.judge import judge_running, read_manifest_uses
from model.gc.manifests.purge import Purged, find_adjacent, purge_manifests
from model.gc.quota import settle_blobs
from model.gc.repository_lock import Scope, lock_repositories
from model.gc.tags import BEGINNING_MS, Expired, purge_expired_tags
from model.gc.uploads import ExpiredUploads, purge_expired_uploads
from model.manifest.candidate import judge_later, judge_next
from model.policy import Policy


@dataclass(frozen=True)
class Batch:
    """What one batch removed from a repository.  `scope` is None if nobody may collect it now.

    `stopped` says in words which control of an operator forbids a removal now, and is empty if none does.
    `manifests` are (digest, subject or None), `blobs` the digests that left the repository,
    `blob_candidates` how many candidates it recorded.  `has_more`: another batch has work now.
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
    """Run `collect_batches` for one repository."""
    (batch,) = collect_batches([repository_id], policy=policy, limit=limit, from_ms=from_ms)
    return batch


def collect_batches(
    repository_ids: Sequence[int], *, policy: Policy, limit: int, from_ms: int = BEGINNING_MS
) -> list[Batch]:
    """Remove at most `limit` unrecoverable tags (ended at `from_ms` or later) and all that dies with them.

    Runs one transaction with a constant number of statements, however many repositories there are.  Deletes
    tags, then the manifests that nothing uses any more, then every row that depends on these; their blobs
    become candidates.  Returns one batch for each repository, in the order given.  A crash leaves all of it
    or nothing.  Idempotent: a second or parallel run removes only what is left.
    Raises `Contended` or `DatabaseUnavailable`; both may be tried again.
    """
    return checked(policy, lambda: _collect_batches(repository_ids, policy, limit, from_ms))


def _collect_batches(repository_ids: Sequence[int], policy: Policy, limit: int, from_ms: int) -> list[Batch]:
    with certificate.certified_transaction():
        scopes, stopped = _may_collect(lock_repositories(repository_ids), policy)
        if not scopes:
            return [stopped.get(repository_id, Batch()) for repository_id in repository_ids]
        expired = purge_expired_tags(scopes, policy=policy, limit=limit, from_ms=from_ms)
        pushed = [scope for scope in scopes if scope.has_uploads]
        uploads = purge_expired_uploads(pushed, policy=policy, limit=limit) if pushed else {}
        purged, unjudged, held_by = _purge_dead(scopes[0].now_ms, expired, policy=policy)
        if unjudged:
            judge_next(unjudged, now_ms=scopes[0].now_ms)
        blobs = settle_blobs(scopes, purged.blob_ids)
        batches = {
            scope.repository_id: _batch(scope, expired, uploads, purged, blobs, policy) for scope in scopes
        }
        changed = [scope for scope in scopes if batches[scope.repository_id].rows]
        if changed:
            sealed = _seal(scopes, expired, purged, held_by, policy)
            _close(changed, [batches[scope.repository_id] for scope in changed], sealed)
        if done := [id for id, batch in batches.items() if not batch.has_more]:
            settle(done, now_ms=scopes[0].now_ms)
        batches |= stopped
        return [batches.get(repository_id, Batch()) for repository_id in repository_ids]


def _may_collect(locked: Sequence[Scope], policy: Policy) -> tuple[list[Scope], dict[int, Batch]]:
    """Return the repositories without a hold or open breaker, and an empty batch for each of the others."""
    stops: dict[int, str] = {}
    if locked:
        broken = find_open_breakers({scope.namespace_id: scope.window_ms for scope in locked}, policy=policy)
        stops = {s.repository_id: broken[s.namespace_id] for s in locked if s.namespace_id in broken}
    if locked and not policy.ignores_holds:
        stops |= find_holds({scope.repository_id: scope.namespace_id for scope in locked})
        if closed := outside_of_window(policy, now_ms=locked[0].now_ms):
            stops |= {scope.repository_id: closed for scope in locked}
    free = [scope for scope in locked if scope.repository_id not in stops]
    return free, {repository_id: Batch(stopped=reason) for repository_id, reason in stops.items()}


def _purge_dead(
    now_ms: int, expired: Expired, *, policy: Policy
) -> tuple[Purged, tuple[int, ...], dict[int, tuple[int, ...]]]:
    """Judge locked manifests and purge the dead.  Also returns what to judge next, and the dead's holders."""
    if not expired.locked:
        return Purged(), expired.unjudged, {}
    found = read_manifest_uses(expired.locked, policy=policy, now_ms=now_ms)
    uses, dead = judge_running(found, now_ms=now_ms)
    # A referrer that waits for its subject is recorded: its own tag never ends, so no tag leads back to it.
    waiting = {
        use.id: use.waits_until_ms
        for use in uses
        if use.id not in dead and use.waits_until_ms and use.waits_until_ms > now_ms
    }
    if waiting:
        judge_later(waiting, now_ms=now_ms)
    if not dead:
        return Purged(), expired.unjudged, {}
    beyond = find_adjacent(dead) if expired.truncated else ()
    held_by = {use.id: use.holders for use in uses if use.id in dead}
    return purge_manifests(dead, policy=policy, now_ms=now_ms), (*expired.unjudged, *beyond), held_by


def _seal(
    scopes: Sequence[Scope],
    expired: Expired,
    purged: Purged,
    held_by: Mapping[int, tuple[int, ...]],
    policy: Policy,
) -> dict[str, Any]:
    """Return the parameters of the batch's certificate."""
    owned = [(id, owner) for owner, ids in purged.ids.items() for id in ids]
    ended_ms = expired.ended_ms
    return certificate.seal(
        "collect",
        [(id, owner, ended_ms.get(id, certificate.NO_TAG), *held_by[id]) for id, owner in owned],
        [digest for owner in purged.ids for digest, _ in purged.manifests[owner]],
        windows_ms={s.repository_id: s.window_ms for s in scopes if s.repository_id in purged.ids},
        policy=policy,
        started_ms=scopes[0].now_ms,
    )


def _batch(
    scope: Scope,
    expired: Expired,
    uploads: dict[int, ExpiredUploads],
    purged: Purged,
    blobs: dict[int, tuple[str, ...]],
    policy: Policy,
) -> Batch:
    """Return the repository's part of the batch.  If a limit was reached, each repository may have more."""
    id = scope.repository_id
    pushed = uploads.get(id, ExpiredUploads())
    manifests = tuple(purged.manifests.get(id, ()))
    return Batch(
        scope=scope,
        tags=expired.tags.get(id, 0) + purged.tags.get(id, 0),
        manifests=manifests,
        blobs=(*blobs.get(id, ()), *pushed.blobs),
        blob_candidates=len(purged.blob_ids.get(id, ())) + pushed.markers,
        uploads=pushed.uploads,
        rows=expired.rows.get(id, 0) + pushed.markers + pushed.uploads + purged.rows.get(id, 0),
        reached_ms=expired.reached_ms,
        reports=policy.security_reports and bool(manifests),
        has_more=expired.has_more or pushed.has_more or (expired.truncated and bool(purged.manifests)),
    )


# Runs just before the commit, so owner and window are those at the commit.  FOR SHARE: a transaction that
# makes a window longer has either committed, and then this statement sees it and the batch is rolled back;
# or it waits until this batch has committed.  FOR KEY SHARE does the same for a transaction that moves or
# renames a repository, and blocks no other.  Rows are locked in one order: no two batches deadlock.
_CLOSE = f"""
WITH {events.MADE}, {history.COLLECTED}
SELECT r.id, r.name AS repository, n.id AS namespace_id, n.username AS namespace,
       n.removed_tag_expiration_s * 1000 AS window_ms, {events.WAKE} AS woken
FROM repository r JOIN "user" n ON n.id = r.namespace_user_id
WHERE r.id = ANY(%(collected)s) ORDER BY n.id, r.id FOR KEY SHARE OF r FOR SHARE OF n
"""


def _close(scopes: Sequence[Scope], batches: Sequence[Batch], sealed: Mapping[str, Any]) -> None:
    """Write history, certificate and events, in the batch's transaction.

    Raises `Contended` if an owner, a name or a window has changed meanwhile.
    """
    made = [
        event for scope, batch in zip(scopes, batches, strict=True) for event in _new_events(scope, batch)
    ]
    rows = run(
        _CLOSE,
        {
            **events.parameters(made, now_ms=scopes[0].now_ms),
            "collected": IntArray(scope.repository_id for scope in scopes),
            "removed_tags": IntArray(batch.tags for batch in batches),
            "removed_manifests": IntArray(len(batch.manifests) for batch in batches),
            "removed_rows": IntArray(batch.rows for batch in batches),
            **sealed,
        },
    )
    owners = {row.id: row for row in rows}
    for scope in scopes:
        now = owners.get(scope.repository_id)
        names = (scope.repository, scope.namespace_id, scope.namespace)
        if now is None or (now.repository, now.namespace_id, now.namespace) != names:
            raise Contended(
                "The repository was moved or renamed while a batch ran", repository=scope.full_name
            )
        if now.window_ms > scope.window_ms:
            raise Contended(
                "The recovery window was lengthened while a batch ran.", repository=scope.full_name
            )


def _new_events(scope: Scope, batch: Batch) -> list[events.NewEvent]:
    about = {
        "namespace": scope.namespace,
        "repository": scope.repository,
        "repository_id": scope.repository_id,
    }
    counts = {"tags": batch.tags, "manifests": len(batch.manifests), "rows": batch.rows}
    id = scope.repository_id
    found = [events.NewEvent(events.REPOSITORY_COLLECTED, scope.full_name, {**about, **counts}, id)]
    if batch.manifests:
        items = [
            {"subject": f"{scope.full_name}@{digest}", "digest": digest, "referred": subject}
            for digest, subject in batch.manifests
        ]
        data = {**about, "blobs": batch.blobs, "items": items}
        found.insert(0, events.NewEvent(events.MANIFEST_COLLECTED, scope.full_name, data, id))
    return found
