"""The end of a soak: everything comes to rest, and what was promised is held against what is there."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from model.db.clock import now_ms
from model.db.connection import connection, fetch, fetch_one
from model.errors import DatabaseUnavailable
from model.fsck.reachability import find_living_tags, read_reachability
from model.gc.inspect.status import read_waiting
from model.policy import Policy
from tests.soak.images import Lost, pull
from tests.soak.journal import Entry
from worker.fsck.run import check_registry
from worker.jobs.plan import all_due
from worker.storage.base import Stores

# After an outage its connections are found broken at their next use.
MARGIN_S = 5.0
# Longer than anything waits that no row tells: referrers for their subjects.
CALM_S = 4.0
SHOWN = 12


@dataclass
class Verdict:
    """What was wrong, in words, and what was looked at, in numbers."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, found: Iterable[str]) -> None:
        """Some things that should not be."""
        each = list(found)
        self.counts[what] += len(each)
        self.wrong += [f"{what}: {text}" for text in each[:SHOWN]]


def backlog(policy: Policy) -> dict[str, int]:
    """What is left to do, by kind: empty at rest."""
    with connection():
        waiting = read_waiting()
        holds = fetch_one(
            "SELECT (SELECT count(*) FROM uploadedblob) AS holds, (SELECT count(*) FROM tag"
            " WHERE hidden AND lifetime_end_ms > %(now)s) AS temporary, (SELECT count(*) FROM tag t"
            ' JOIN repository r ON r.id = t.repository_id JOIN "user" n ON n.id = r.namespace_user_id'
            " WHERE t.lifetime_end_ms + n.removed_tag_expiration_s * 1000 < %(now)s + 60000) AS closing,"
            " (SELECT count(*) FROM manifest m WHERE %(cascade)s AND m.subject IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM manifest s WHERE s.repository_id = m.repository_id"
            "  AND s.digest = m.subject)"
            " AND NOT EXISTS (SELECT FROM tag t WHERE t.manifest_id = m.id AND NOT t.hidden)) AS orphans",
            {"now": now_ms(), "cascade": policy.referrers == "cascade"},
        )
        left = {
            "repositories due": len(all_due(policy)),
            "manifest candidates": waiting.manifest_candidates,
            "blob candidates": waiting.blob_candidates,
            "tombstones": waiting.tombstones,
            "events": waiting.unpublished_events,
            "holds": holds.holds,
            "temporary tags": holds.temporary,
            "closing windows": holds.closing,
            "referrers without subject": holds.orphans,
        }
    return {name: count for name, count in left.items() if count}


def backoff_s() -> float:
    """Return the seconds until the last interrupted repository is tried again, at most an hour."""
    with connection():
        last = fetch_one("SELECT max(next_try_ms) AS ms FROM dredge_due WHERE attempts > 0")
        return max(0, min(3_600_000, (last.ms or 0) - now_ms())) / 1000


def come_to_rest(policy: Policy, *, patience_s: float, calm_s: float = CALM_S) -> str:
    """Wait until nothing is left to do for a while; what is left when the patience is at its end.

    The patience begins when the last repository whose attempts were interrupted is tried again.
    """
    deadline = time.monotonic() + patience_s
    left: dict[str, int] = {"not looked": 1}
    calm = None
    backed_off = False
    while time.monotonic() < deadline:
        try:
            if not backed_off:
                deadline += backoff_s()
                backed_off = True
            left = backlog(policy)
        except DatabaseUnavailable:
            left = {"database unavailable": 1}
        calm = None if left else calm or time.monotonic()
        if calm and time.monotonic() - calm > calm_s:
            return ""
        time.sleep(0.25)
    return f"{left}"


def audit_registry(stores: Stores, policy: Policy) -> Verdict:
    """Every invariant deeply, no garbage, and every byte of every manifest by its own text."""
    verdict = Verdict()
    with connection():
        report = check_registry(list(stores.items()), policy=policy, now_ms=now_ms(), deep=True)
        verdict.add(
            "invariant", (f"{f.name} {f.count} {f.examples}" for f in (*report.violations, *report.pending))
        )
        everything, live = read_reachability(policy=policy, at_ms=now_ms())
        verdict.add("garbage manifest", map(str, everything.manifests - live.manifests))
        verdict.add("garbage blob", map(str, everything.blobs - live.blobs))
        listed = {(name, info.path) for name, store in stores.items() for info in store.list()}
        verdict.add("garbage object", map(str, listed - everything.objects.keys()))
        verdict.add("missing object", map(str, live.objects.keys() - listed))
        verdict.add("lost", _unreadable(stores))
        verdict.counts.update(manifests=len(live.manifests), objects=len(listed))
        verdict.counts.update(object_bytes=report.bytes)
    return verdict


def _unreadable(stores: Stores) -> Iterable[str]:
    for row in fetch("SELECT repository_id, digest FROM manifest ORDER BY id"):
        try:
            pull(stores, row.repository_id, row.digest)
        except Lost as error:
            yield f"{row.repository_id} {row.digest}: {error}"


def audit_journals(entries: Sequence[Entry], outages: Sequence[tuple[float, float]], ttl_s: float) -> Verdict:
    """Each failure has a reason, and each yes that nobody took back is still true."""
    verdict = Verdict()
    for entry in entries:
        answer = "no answer" if entry.end is None else entry.error or "yes"
        verdict.counts[f"{entry.op} / {answer}"] += 1
        if entry.error and not _explained(entry, entries, outages, ttl_s):
            verdict.add("unexplained failure", [_shown(entry)])
    with connection():
        verdict.add("lost promise", _broken_promises(entries, verdict.counts))
        verdict.add("lost signature", _lost_signatures(entries))
    return verdict


def _explained(
    entry: Entry, entries: Sequence[Entry], outages: Sequence[tuple[float, float]], ttl_s: float
) -> bool:
    assert entry.end is not None
    slow = entry.end - entry.begin > ttl_s  # its holds may have run out
    match entry.error:
        case "DatabaseUnavailable":
            return any(begin < entry.end and entry.begin < end + MARGIN_S for begin, end in outages)
        case "NotRestorable":
            return entry.op == "restore"
        case "ManifestGone" | "NoSuchManifest":
            rivals = [rival for rival in entries if _beside(rival, entry)]
            child_gone = entry.error == "NoSuchManifest" and _index_died(entry, rivals)
            return entry.op == "move" or slow or child_gone or _protection_ended(rivals)
        case "NoSuchBlob":
            return entry.op == "mount" or slow
        case "RowVanished":
            return entry.op == "quay push"
    return False


def _beside(rival: Entry, entry: Entry) -> bool:
    """Something else in the repository, at the same time."""
    return (
        rival is not entry
        and rival.repository == entry.repository
        and rival.begin <= (entry.end or 0)
        and (rival.end is None or rival.end >= entry.begin)
    )


def _protection_ended(rivals: Iterable[Entry]) -> bool:
    """Did somebody end every tag of the manifest meanwhile, the push's hidden one too?"""
    return any(rival.op in ("delete of manifest", "delete for good") for rival in rivals)


def _index_died(entry: Entry, rivals: Sequence[Entry]) -> bool:
    """Did the same index get a tag and lose it while its children waited for this push of it?"""
    named = {rival.tag for rival in rivals if rival.op in NAMING and rival.digest == entry.digest}
    return any(rival.op == "delete" and rival.changed and rival.tag in named for rival in rivals)


def _shown(entry: Entry) -> str:
    took = (entry.end or entry.begin) - entry.begin
    where = f"{entry.repository}:{entry.tag or entry.digest}"
    return f"{entry.op} {where}: {entry.error} after {took:.2f} s: {entry.text}"


def _broken_promises(entries: Sequence[Entry], counts: Counter[str]) -> Iterable[str]:
    """A name that an operation said yes to, and that nobody may have touched since, still points there."""
    alive = {(tag.repository_id, tag.name): tag.digest for tag in find_living_tags(at_ms=now_ms())}
    by_name: defaultdict[tuple[int, str | None], list[Entry]] = defaultdict(list)
    by_digest: defaultdict[tuple[int, str | None], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.op in NAMING | {"delete", "delete for good"} and entry.may_have_changed:
            by_name[entry.repository, entry.tag].append(entry)
        elif entry.op == "delete of manifest" and entry.may_have_changed:
            by_digest[entry.repository, entry.digest].append(entry)
    for entry in entries:
        if entry.op not in NAMING or not entry.yes or entry.facts.get("moved"):
            continue
        rivals = [*by_name[entry.repository, entry.tag], *by_digest[entry.repository, entry.digest]]
        if any(_may_follow(rival, entry) for rival in rivals):
            continue
        counts["promises held"] += 1
        found = alive.get((entry.repository, str(entry.tag)))
        if found != entry.digest:
            yield f"{entry.op} {entry.repository}:{entry.tag} -> {entry.digest}, now {found}"


NAMING = {"push", "keep", "move", "restore", "push mounted", "quay push"}


def _may_follow(rival: Entry, entry: Entry) -> bool:
    return rival is not entry and (rival.end is None or rival.end >= entry.begin)


def _lost_signatures(entries: Sequence[Entry]) -> Iterable[str]:
    """With the policy `cascade`, what was signed and is still there has its signature."""
    there = {(row.repository_id, row.digest) for row in fetch("SELECT repository_id, digest FROM manifest")}
    kept = {(e.repository, e.digest) for e in entries if e.op == "keep" and e.yes}
    for entry in entries:
        subject = (entry.repository, entry.facts.get("subject"))
        signed = entry.op == "sign" and entry.yes and subject in kept
        if signed and (entry.repository, entry.digest) not in there:
            yield f"{entry.repository} {entry.digest} of {subject}"
