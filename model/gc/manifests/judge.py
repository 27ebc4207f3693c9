"""Which of the locked manifests are dead: one statement reads their uses, then a pure function decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.db.arrays import IntArray
from model.db.prepared import run
from model.gc.repository_lock import Scope
from model.gc.tags import UNRECOVERABLE, unrecoverable_params
from model.policy import Policy

# With `cascade`, the never-ending hidden tag of a referrer does not count.  Exception: its subject does not
# exist, and may still be pushed.
TAG_COUNTS = """
    NOT (%(cascade)s AND m.subject IS NOT NULL AND t.hidden AND t.lifetime_end_ms IS NULL
         AND (t.lifetime_start_ms <= %(now_ms)s - %(grace_ms)s
              OR EXISTS (SELECT FROM manifest s
                         WHERE s.repository_id = m.repository_id AND s.digest = m.subject)))
"""

# A manifest in use is judged again after this time, because no tag may lead back to it.
IN_USE_RETRY_MS = 24 * 3_600_000

_RUNNING = """
SELECT m.id FROM manifest m JOIN dredge_in_use u ON u.digest = m.digest WHERE m.id = ANY(%(ids)s)
"""

_USES = """
       ARRAY(SELECT c.manifest_id FROM manifestchild c WHERE c.child_manifest_id = m.id) AS parents,
       CASE WHEN %(cascade)s
            THEN ARRAY(SELECT s.id FROM manifest s
                       WHERE s.repository_id = m.repository_id AND s.digest = m.subject)
            ELSE ARRAY(SELECT r.id FROM manifest r
                       WHERE r.repository_id = m.repository_id AND r.subject = m.digest)
       END AS linked,
       CASE WHEN %(cascade)s AND m.subject IS NOT NULL AND NOT EXISTS (
                SELECT FROM manifest s WHERE s.repository_id = m.repository_id AND s.digest = m.subject)
            THEN (SELECT max(t.lifetime_start_ms) + %(grace_ms)s FROM tag t
                  WHERE t.manifest_id = m.id AND t.hidden AND t.lifetime_end_ms IS NULL)
       END AS waits_until_ms
FROM manifest m WHERE m.id = ANY(%(ids)s)
"""

_TAGGED = f"EXISTS (SELECT FROM tag t WHERE t.manifest_id = m.id AND {TAG_COUNTS}"
_READ = f"SELECT m.id, {_TAGGED}) AS tagged, {_USES}"
_FORESEE = f"SELECT m.id, {_TAGGED} AND ({UNRECOVERABLE}) IS NOT TRUE) AS tagged, {_USES}"
_SUPPOSE = (
    f"SELECT m.id, {_TAGGED} AND (t.id IN (SELECT unnest(%(without)s))) IS NOT TRUE) AS tagged, {_USES}"
)


@dataclass(frozen=True)
class ManifestUse:
    """A locked manifest: whether it has a tag that counts, and which manifests hold it.

    `waits_until_ms`: when it must be judged again, because it is a referrer without its subject, or its
    digest is in use.
    """

    id: int
    tagged: bool
    holders: tuple[int, ...]
    waits_until_ms: int | None = None


def read_manifest_uses(manifest_ids: Sequence[int], *, policy: Policy, now_ms: int) -> list[ManifestUse]:
    """Read the uses of the given manifests, of one repository or several, in one statement; only reads.

    Call it after the rows are locked: a new statement sees everything that was committed before the locks.
    """
    return _uses(run(_READ, {"now_ms": now_ms, **_parameters(manifest_ids, policy)}))


def foresee_manifest_uses(scope: Scope, manifest_ids: Sequence[int], *, policy: Policy) -> list[ManifestUse]:
    """Do the same for one repository, without its unrecoverable tags, which still exist."""
    params = {**unrecoverable_params(scope, policy), **_parameters(manifest_ids, policy)}
    return _uses(run(_FORESEE, params))


def suppose_manifest_uses(
    manifest_ids: Sequence[int], *, without: Iterable[int], policy: Policy, now_ms: int
) -> list[ManifestUse]:
    """Do the same as if the tags `without` did not exist; the server hashes their ids once."""
    params = {"now_ms": now_ms, "without": IntArray(without), **_parameters(manifest_ids, policy)}
    return _uses(run(_SUPPOSE, params))


def _parameters(manifest_ids: Sequence[int], policy: Policy) -> dict[str, Any]:
    return {
        "ids": IntArray(manifest_ids),
        "cascade": policy.referrers == "cascade",
        "grace_ms": policy.referrer_grace_ms,
    }


def _uses(rows: Iterable[Any]) -> list[ManifestUse]:
    return [ManifestUse(row.id, row.tagged, (*row.parents, *row.linked), row.waits_until_ms) for row in rows]


def judge(uses: Iterable[ManifestUse]) -> frozenset[int]:
    """Return the ids that nothing uses: without a tag of their own, and without a holder that is used.

    A holder that is not among `uses` counts as used, so it is safe to judge a part of a graph.  A cycle
    that nothing outside it holds is dead.  The time is linear in manifests and edges.
    """
    seen = {use.id: use for use in uses}
    kept_by: defaultdict[int, list[int]] = defaultdict(list)
    alive: list[int] = []
    for use in seen.values():
        for holder in use.holders:
            kept_by[holder].append(use.id)
        if use.tagged or any(holder not in seen for holder in use.holders):
            alive.append(use.id)
    dead = set(seen).difference(alive)
    while alive:
        for kept in kept_by[alive.pop()]:
            if kept in dead:
                dead.discard(kept)
                alive.append(kept)
    return frozenset(dead)


def judge_running(
    uses: Sequence[ManifestUse], *, now_ms: int
) -> tuple[Sequence[ManifestUse], frozenset[int]]:
    """Judge, but keep manifests in use and those that they hold.  Returns the uses as judged, and the dead.

    Only manifests that would die are looked up in the list of digests in use, so the list costs little.
    """
    dead = judge(uses)
    running = {row.id for row in run(_RUNNING, {"ids": IntArray(dead)})} if dead else set()
    if not running:
        return uses, dead
    later_ms = now_ms + IN_USE_RETRY_MS
    counted = [
        replace(use, tagged=True, waits_until_ms=later_ms) if use.id in running else use for use in uses
    ]
    return counted, judge(counted)
