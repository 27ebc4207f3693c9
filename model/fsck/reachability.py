"""Everything that is in use at one time, found in plain Python: it tests the collector's result.

Reads whole tables into memory, so it is only for small registries, such as the demonstration's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from model.db.connection import fetch
from model.policy import Policy
from model.storage_paths import object_path


@dataclass(frozen=True)
class Reachability:
    """Ids of manifests and blobs, and the blobs' objects as {(location, path): digest}."""

    manifests: frozenset[int]
    blobs: frozenset[int]
    objects: dict[tuple[str, str], str]


_HELD_BLOBS = """
SELECT blob_id FROM uploadedblob
    WHERE expires_at > to_timestamp(%s / 1000.0) AT TIME ZONE 'UTC'
"""


def read_reachability(*, policy: Policy, at_ms: int) -> tuple[Reachability, Reachability]:
    """Return (everything that exists, the part of it in use at `at_ms`); only reads."""
    live = _live_manifests(policy, at_ms)
    held = {row.blob_id for row in fetch(_HELD_BLOBS, (at_ms,))}
    for row in fetch("SELECT manifest_id, blob_id FROM manifestblob"):
        if row.manifest_id in live:
            held.add(row.blob_id)
    everything = {row.id for row in fetch("SELECT id FROM manifest")}
    blobs = {row.id for row in fetch("SELECT id FROM imagestorage")}
    return (
        Reachability(frozenset(everything), frozenset(blobs), _objects(blobs)),
        Reachability(frozenset(live), frozenset(held), _objects(held)),
    )


@dataclass(frozen=True)
class LivingTag:
    """A visible tag that is alive."""

    repository_id: int
    name: str
    digest: str


_LIVING_TAGS = """
SELECT t.repository_id, t.name, m.digest FROM tag t JOIN manifest m ON m.id = t.manifest_id
    WHERE NOT t.hidden AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > %s)
    ORDER BY t.repository_id, t.name
"""


def find_living_tags(*, at_ms: int) -> list[LivingTag]:
    """Return every visible, alive tag of the registry, by repository and name; only reads."""
    rows = fetch(_LIVING_TAGS, (at_ms,))
    return [LivingTag(*row) for row in rows]


def _live_manifests(policy: Policy, at_ms: int) -> set[int]:
    """Return the tagged manifests and all that they hold, directly or not."""
    cascade = policy.referrers == "cascade"
    manifests = {row.id: row for row in fetch("SELECT id, repository_id, digest, subject FROM manifest")}
    by_digest = {(m.repository_id, m.digest): m.id for m in manifests.values()}
    keeps: defaultdict[int, set[int]] = defaultdict(set)
    for row in fetch("SELECT manifest_id, child_manifest_id FROM manifestchild"):
        keeps[row.manifest_id].add(row.child_manifest_id)
    subjects: dict[int, int] = {}
    for m in manifests.values():
        subject = by_digest.get((m.repository_id, m.subject))
        if subject is not None:
            subjects[m.id] = subject
            keeps[subject if cascade else m.id].add(m.id if cascade else subject)
    reached = [
        tag.manifest_id
        for tag in _counting_tags(policy, at_ms)
        if not (cascade and tag.endless and _follows_subject(manifests, subjects, tag, policy, at_ms))
    ]
    live: set[int] = set()
    while reached:
        id = reached.pop()
        if id not in live:
            live.add(id)
            reached.extend(keeps[id])
    return live


_COUNTING_TAGS = """
SELECT t.manifest_id, t.hidden AND t.lifetime_end_ms IS NULL AS endless, t.lifetime_start_ms
    FROM tag t JOIN repository r ON r.id = t.repository_id JOIN "user" n ON n.id = r.namespace_user_id
    WHERE t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > %s - n.removed_tag_expiration_s * 1000
    OR (t.immutable AND %s) OR NOT n.enabled OR r.state = 3
"""


def _counting_tags(policy: Policy, at_ms: int) -> list[TagRow]:
    rows = fetch(_COUNTING_TAGS, (at_ms, policy.protects_immutable))
    return [TagRow(*row) for row in rows]


@dataclass(frozen=True)
class TagRow:
    """A tag that may keep its manifest."""

    manifest_id: int
    endless: bool
    start_ms: int


def _follows_subject(
    manifests: dict[int, object], subjects: dict[int, int], tag: TagRow, policy: Policy, at_ms: int
) -> bool:
    """Return whether the manifest lives by its subject, so that its hidden tag does not count."""
    manifest = manifests[tag.manifest_id]
    if getattr(manifest, "subject", None) is None:
        return False
    return tag.manifest_id in subjects or tag.start_ms + policy.referrer_grace_ms <= at_ms


_OBJECTS = """
SELECT b.id, b.uuid, b.cas_path, b.content_checksum AS digest, l.name AS location
    FROM imagestorage b JOIN imagestorageplacement p ON p.storage_id = b.id
    JOIN imagestoragelocation l ON l.id = p.location_id
"""


def _objects(blob_ids: set[int]) -> dict[tuple[str, str], str]:
    rows = fetch(_OBJECTS)
    return {
        (row.location, object_path(row.digest, row.cas_path, row.uuid)): row.digest
        for row in rows
        if row.id in blob_ids
    }
