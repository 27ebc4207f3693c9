"""The state on which races and crashes run: a saved world, and the checks after a run.

`RaceHarness` saves all rows and objects once; `reset` restores them in a few milliseconds.  `verify` checks
the invariants right after a run, runs the collector until it has nothing more to do, checks again, and
verifies every promise: what an operation reported to its client must exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from model.db.clock import NOW_MS_SQL
from model.fsck import blobs, manifests, queues, quota, tags
from model.fsck.check import Check
from model.fsck.references import find_reference_checks
from model.policy import DEFAULT, Policy
from model.storage_paths import IDENTITY_PATH, object_path
from tests.support import memory_store, race_stores
from tests.support.explorer import Race
from tests.support.explorer_steps import Outcome, hooked
from tests.support.memory_store import MemoryStore
from tests.support.pipeline import LOCATION, make_context, run_to_quiescence
from tests.support.race_clock import RaceClock, ahead
from tests.support.saved_rows import SavedRows
from tests.support.world import World
from worker.jobs import erase
from worker.jobs.context import JobContext
from worker.settings import Settings

# Long enough that every fence and lease of a run has ended, but no push's hold.
EVERY_FENCE_S = 300
# Work of others than the collector, which may be left at the end.
NOT_OURS = {"event-unpublished", "report-debt", "blob-downloading", "manifest-candidate-later"}


@dataclass(frozen=True)
class TagClaim:
    """A promise of an operation: this tag points at this manifest, which can be pulled."""

    repository_id: int
    name: str
    digest: str


@dataclass(frozen=True)
class ManifestClaim:
    """A promise of an operation: this manifest exists, with all its blobs."""

    repository_id: int
    digest: str


@dataclass(frozen=True)
class BlobClaim:
    """A promise of an operation: this blob exists."""

    digest: str


Claim = TagClaim | ManifestClaim | BlobClaim


class Broken(AssertionError):
    """An invariant does not hold, or a promise was not kept."""


class RaceHarness:
    """One database and one store in memory; use it as a context."""

    def __init__(
        self,
        world: World,
        *,
        policy: Policy = DEFAULT,
        settings: Settings | None = None,
        store: Any = None,
    ) -> None:
        self.world, self.url, self.policy = world, world.url, policy
        self.store = MemoryStore() if store is None else store
        self.context: JobContext = make_context({LOCATION: self.store}, policy=policy, settings=settings)
        self.clock = RaceClock(world)
        self._rows = SavedRows(world)
        self.left_by_quay: set[str] = set()
        self._stack = ExitStack()
        self._stack.callback(self._rows.close)

    def __enter__(self) -> RaceHarness:
        self._stack.enter_context(hooked(ahead))
        for module in (erase, memory_store, race_stores):
            self._stack.enter_context(patch.object(module, "clock_s", self.clock.clock_s))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def put(self, blob: Any, content: bytes = b"") -> None:
        """Store the object of a blob's row, with the row's size."""
        size = blob.size or 0
        self.store.objects[object_path(blob.digest, blob.cas_path, blob.uuid)] = content or b"x" * size

    # --------------------------------------------------------------------------- save and restore

    def save(self) -> None:
        """Save all rows and objects."""
        self._rows.save()
        self.store.remember()
        self.world.execute("DEALLOCATE ALL")
        self.world.execute("PREPARE violations AS " + ahead(_query(self.policy, "violation")))
        self.world.execute("PREPARE pending AS " + ahead(_query(self.policy, "pending")))

    def reset(self) -> None:
        """Restore the saved rows and objects."""
        self._rows.put_back()
        self.context.starts.clear()
        self.clock.reset()
        self.store.recall()
        self.left_by_quay.clear()

    # ------------------------------------------------------------------------------------- verify

    def verify(self, race: Race, outcomes: Mapping[str, Outcome]) -> None:
        """Raise `Broken` unless every invariant holds, before and after the collector does its work."""
        race.check(outcomes)
        claims = [claim for outcome in outcomes.values() if outcome.ok for claim in claims_of(outcome.value)]
        if not self.context.settings.quarantine_s:
            # With a quarantine, the next turn of the trash puts back what a late request moved.
            self.check("right after")
            self.keep(claims, "right after")
        self.clock.advance(EVERY_FENCE_S)
        run_to_quiescence(self.context)
        self.check("at rest")
        self.check_rest()
        self.keep(claims, "at rest")

    def check(self, when: str) -> None:
        """Raise if an invariant of rows, objects or quota is broken."""
        broken = dict(self.world.rows("EXECUTE violations"))
        # Noted, rightly: the next turn looks again and lifts it.
        broken.pop("location-suspended", None)
        broken |= {f"object {path}": what for path, what in self._objects_against_rows()}
        if broken:
            raise Broken(f"{when}: {broken}")

    def check_rest(self) -> None:
        """Raise if the collector has work left."""
        left = {name: count for name, count in self.world.rows("EXECUTE pending") if name not in NOT_OURS}
        if left:
            raise Broken(f"left at rest: {left}")

    def _objects_against_rows(self) -> Iterator[tuple[str, str]]:
        needed: dict[str, int | None] = {}
        known = {path for (path,) in self.world.rows("SELECT path FROM dredge_tombstone")}
        known |= {
            IDENTITY_PATH,
            *(trash for (trash,) in self.world.rows("SELECT trash FROM dredge_quarantine")),
            *self.left_by_quay,
        }
        known |= {f"uploads/{uuid}" for (uuid,) in self.world.rows("SELECT uuid FROM blobupload")}
        for digest, cas, uuid, size, used in self.world.rows(_PLACED_OR_ANNOUNCED):
            path = object_path(digest, cas, uuid)
            known.add(path)
            if used:
                needed[path] = size
        for path, size in needed.items():
            if path not in self.store.objects:
                yield path, "is needed and missing"
            elif size is not None and len(self.store.objects[path]) != size:
                yield path, f"has {len(self.store.objects[path])} bytes, its row says {size}"
        for path in self.store.objects.keys() - known:
            yield path, "is known to no row"

    def keep(self, claims: list[Claim], when: str) -> None:
        """Raise if a promise does not hold."""
        for claim in claims:
            if isinstance(claim, BlobClaim):
                self._keep_blob(claim.digest, claim, when)
                continue
            if isinstance(claim, TagClaim):
                self._keep_tag(claim, when)
            self._keep_manifest(claim, when)

    def _keep_tag(self, claim: TagClaim, when: str) -> None:
        found = self.world.rows(
            "SELECT m.digest FROM tag t JOIN manifest m ON m.id = t.manifest_id WHERE t.repository_id = %s"
            f" AND t.name = %s AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > {ahead(NOW_MS_SQL)})",
            (int(claim.repository_id), claim.name),
        )
        if found != [(claim.digest,)]:
            raise Broken(f"{when}: {claim} was promised, found {found}")

    def _keep_manifest(self, claim: TagClaim | ManifestClaim, when: str) -> None:
        manifest = self.world.value(
            "SELECT id FROM manifest WHERE repository_id = %s AND digest = %s",
            (int(claim.repository_id), claim.digest),
        )
        if manifest is None:
            raise Broken(f"{when}: {claim} was promised and its manifest is gone")
        below = (
            "WITH RECURSIVE below(id) AS (SELECT %s::int UNION SELECT c.child_manifest_id FROM below"
            " JOIN manifestchild c ON c.manifest_id = below.id)"
            " SELECT DISTINCT b.content_checksum FROM below JOIN manifestblob m ON m.manifest_id = below.id"
            " JOIN imagestorage b ON b.id = m.blob_id"
        )
        for (digest,) in self.world.rows(below, (manifest,)):
            self._keep_blob(digest, claim, when)

    def _keep_blob(self, digest: str, claim: Claim, when: str) -> None:
        rows = self.world.rows(
            "SELECT content_checksum, cas_path, uuid FROM imagestorage WHERE content_checksum = %s", (digest,)
        )
        if not any(object_path(*row) in self.store.objects for row in rows):
            raise Broken(f"{when}: {claim} was promised; blob {digest} has {len(rows)} rows and no object")


def claims_of(value: Any) -> list[Claim]:
    """Return the claims in an actor's result, which may be one, several, or none."""
    if isinstance(value, (TagClaim, ManifestClaim, BlobClaim)):
        return [value]
    return [claim for part in value for claim in claims_of(part)] if isinstance(value, (list, tuple)) else []


# Includes objects that a running push has announced, which may exist already.
_PLACED_OR_ANNOUNCED = """
SELECT b.content_checksum, b.cas_path, b.uuid, b.image_size,
       p.id IS NOT NULL AND (EXISTS (SELECT FROM manifestblob m WHERE m.blob_id = b.id)
           OR EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id
                      AND u.expires_at > clock_timestamp() AT TIME ZONE 'UTC'))
FROM imagestorage b LEFT JOIN imagestorageplacement p ON p.storage_id = b.id
WHERE p.id IS NOT NULL OR EXISTS (SELECT FROM dredge_push a WHERE a.blob_id = b.id)
"""


def _query(policy: Policy, kind: str) -> str:
    """Return one statement with all checks of fsck, which yields (name, count) of those that are not zero."""
    values: dict[str, Any] = {
        "now_ms": NOW_MS_SQL,
        "immutable_stays": policy.protects_immutable,
        "cascade": policy.referrers == "cascade",
        "grace_ms": policy.referrer_grace_ms,
        "upload_ttl_ms": policy.upload_ttl_ms,
        "above": 0,
        "upto": 2**31 - 1,
    }
    checks: list[Check] = [
        *(find_reference_checks() if kind == "violation" else ()),
        *(c for module in (tags, manifests, blobs, queues, quota) for c in module.CHECKS if c.kind == kind),
        *(c for c in manifests.SLICED if c.kind == kind),
    ]
    counted = " UNION ALL ".join(
        f"SELECT '{c.name}', (SELECT count(*) FROM ({c.sql % values}) x)" for c in checks
    )
    return f"SELECT name, n FROM ({counted}) AS found(name, n) WHERE n > 0"
