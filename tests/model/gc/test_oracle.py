"""Random registries, collected to rest, against the brute-force oracle: whole database snapshots compared."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model.policy import HOUR_MS, Policy
from model.storage_paths import EMPTY_LAYER, object_path
from model.verify import Verifier, open_snapshot
from tests.support.databases import Databases
from tests.support.oracle import Oracle, Snapshot, Verdict
from tests.support.pipeline import LOCATION, make_context, run_to_quiescence
from tests.support.world import Row, World, digest_of
from worker.settings import Settings
from worker.storage.local import LocalStore

DAY_MS = 24 * HOUR_MS
ENDS_MS = (None, None, DAY_MS, -1, -HOUR_MS, -2 * DAY_MS, -30 * DAY_MS)
WINDOWS_S = (0, 86_400, 1_209_600)
QUOTA = ("quotarepositorysize", "quotanamespacesize")

small = st.integers(0, 7)
few = st.lists(small, max_size=3)


@dataclass(frozen=True)
class Plan:
    """A registry in small numbers: indexes are taken modulo what there is."""

    windows: list[tuple[int, bool]]
    repositories: list[tuple[int, bool]]
    blobs: list[tuple[int, int, str, bool, bool]]
    manifests: list[tuple[int, int, list[int], list[int], int | None, int, bool]]
    cycles: list[tuple[int, int]]
    tags: list[tuple[int, int, int, bool, bool, bool]]
    markers: list[tuple[int, int, bool]]
    uploads: list[tuple[int, bool]]
    candidates: list[int]


def lists(*parts: Any, max_size: int, min_size: int = 0) -> Any:
    return st.lists(st.tuples(*parts), min_size=min_size, max_size=max_size)


mostly = st.sampled_from([True, True, True, True, False])
rarely = st.sampled_from([False, False, False, True])
places = st.sampled_from(["local_us", "local_us", "eu", "both", "none"])
ends = st.sampled_from(range(len(ENDS_MS)))
subjects = st.one_of(st.none(), st.none(), small, st.just(99))
plans = st.builds(
    Plan,
    windows=lists(st.integers(0, 2), mostly, min_size=1, max_size=2),
    repositories=lists(small, rarely, min_size=1, max_size=3),
    blobs=lists(st.integers(0, 1000), small, places, mostly, st.booleans(), max_size=6, min_size=1),
    manifests=lists(
        small, small, few, few, subjects, st.integers(0, 2), st.booleans(), max_size=9, min_size=3
    ),
    cycles=lists(small, small, max_size=2),
    tags=lists(small, small, ends, rarely, rarely, rarely, max_size=12, min_size=3),
    markers=lists(small, small, st.booleans(), max_size=4),
    uploads=lists(small, st.booleans(), max_size=2),
    candidates=st.lists(small, max_size=2),
)
policies = st.builds(
    Policy,
    referrers=st.sampled_from(["pin", "cascade"]),
    immutable_tags=mostly,
    immutable_tags_can_expire=rarely,
)


class Built:
    """A plan put into a database and a store."""

    def __init__(self, world: World, plan: Plan, store: dict[str, LocalStore]) -> None:
        self.world, self.plan, self.store = world, plan, store
        self.namespaces = [
            world.namespace(window_s=WINDOWS_S[window], enabled=enabled) for window, enabled in plan.windows
        ]
        self.repositories = [
            world.repository(namespace=self.namespaces[n % len(self.namespaces)], state=3 if marked else 0)
            for n, marked in plan.repositories
        ]
        self.blobs = [self._blob(*facts) for facts in plan.blobs]
        self.manifests: list[Row] = []
        for facts in plan.manifests:
            self._manifest(*facts)
        self._cycles()
        self.tags: list[Row] = []
        for n, tag in enumerate(plan.tags):
            self._tag(n, *tag)
        self._uploads()
        for n in plan.candidates:
            columns = {"blob_id": self.pick(self.blobs, n), "repository_id": None, "created_ms": 1}
            world.insert("dredge_blob_candidate", **columns)
        self._bystander()
        for repository in self.repositories:
            world.quota(repository)

    def pick(self, things: list[Row], n: int) -> Row:
        return things[n % len(things)]

    def _blob(self, size: int, key: int, place: str, cas_path: bool, signed: bool) -> Row:
        digest = EMPTY_LAYER if key == 7 else digest_of(f"blob {key % 5}")
        first = {"none": None, "both": LOCATION}.get(place, place)
        made = self.world.blob(size, digest=digest, placement=first, cas_path=cas_path)
        if place == "both":
            self.world.place(made, "eu")
        for where in {"none": (), "both": (LOCATION, "eu")}.get(place, (place,)):
            self.store[where].write(object_path(digest, cas_path, made.uuid), [b"x"])
        if signed:
            self.world.signature(made)
        return made

    def _manifest(
        self,
        repository: int,
        key: int,
        blobs: list[int],
        children: list[int],
        subject: int | None,
        labels: int,
        scanned: bool,
    ) -> None:
        where = self.pick(self.repositories, repository)
        here = [made for made in self.manifests if made.repository == where]
        digest = digest_of(f"manifest {key}")
        if any(made.digest == digest for made in here):
            digest = digest_of(f"manifest {len(self.manifests)} of {where}")
        named = None if subject is None else digest_of(f"manifest {subject}")
        made = self.world.manifest(
            where,
            blobs=sorted({self.pick(self.blobs, n) for n in blobs}),
            children=sorted({self.pick(here, n) for n in children}) if here else (),
            subject=None if named == digest else named,
            digest=digest,
            labels=labels,
        )
        if scanned:
            self.world.security(made)
            self.world.manifest_pulls(made)
        self.manifests.append(made)

    def _cycles(self) -> None:
        for n, other in self.plan.cycles:
            first, second = self.pick(self.manifests, n), self.pick(self.manifests, other)
            known = self.world.value(
                "SELECT 1 FROM manifestchild WHERE manifest_id = %s AND child_manifest_id = %s",
                (int(second), int(first)),
            )
            if first.repository == second.repository and not known:
                self.world.child(second, first)

    def _tag(
        self, n: int, manifest: int, name: int, end: int, hidden: bool, immutable: bool, linked: bool
    ) -> None:
        ends_in = ENDS_MS[end]
        target = self.pick(self.manifests, manifest)
        # Never two alive tags of one name, never two ends in one millisecond.
        alive = ends_in is None or ends_in > 0
        made = self.world.tag(
            f"alive{n}" if alive and n else f"name{name % 3}",
            manifest=target,
            ended_ms=None if ends_in is None else self.world.now_ms + ends_in - n,
            start_ms=self.world.now_ms - (40 if name % 2 else 0) * DAY_MS - HOUR_MS,
            hidden=hidden,
            immutable=immutable,
            linked=self.tags[-1] if linked and self.tags else None,
        )
        self.tags.append(made)
        if name == 0:
            self.world.notified(made)
        if not self.world.value(
            "SELECT 1 FROM tagpullstatistics WHERE repository_id = %s AND tag_name = %s",
            (int(target.repository), made.name),
        ):
            self.world.tag_pulls(made.name, repository=target.repository)

    def _uploads(self) -> None:
        for repository, blob, expired in self.plan.markers:
            expires_ms = self.world.now_ms + (-HOUR_MS if expired else HOUR_MS)
            where = self.pick(self.repositories, repository)
            self.world.uploaded(self.pick(self.blobs, blob), repository=where, expires_ms=expires_ms)
        for repository, old in self.plan.uploads:
            created_ms = self.world.now_ms - (3 if old else 1) * DAY_MS
            made = self.world.upload(
                repository=self.pick(self.repositories, repository), created_ms=created_ms
            )
            self.store[LOCATION].write(f"uploads/{made.uuid}", [b"chunk"])

    def _bystander(self) -> None:
        blob = self.world.blob(11)
        self.store[LOCATION].write(object_path(blob.digest, True, ""), [b"x"])
        image = self.world.manifest(blobs=[blob], labels=1)
        self.world.tag("bystander", manifest=image)
        self.world.quota()

    def trace(self, policy: Policy) -> Snapshot:
        """Give what nothing leads to a candidate row, as a sweep would; the registry as it is then."""
        rows = self.world.snapshot()
        for manifest in sorted(Oracle(rows, self.world.now_ms, policy).untraced()):
            where = rows["manifest"][manifest]["repository_id"]
            columns = {"repository_id": where, "manifest_id": manifest, "created_ms": 1}
            self.world.insert("dredge_manifest_candidate", **columns)
        return self.world.snapshot()

    def objects(self) -> set[tuple[str, str]]:
        return {(name, seen.path) for name, store in self.store.items() for seen in store.list()}


def expected_after(before: Snapshot, verdict: Verdict) -> Snapshot:
    """The registry's tables as they must be."""
    after = {
        table: {id: dict(row) for id, row in rows.items() if id not in verdict.gone.get(table, ())}
        for table, rows in before.items()
        if not table.startswith("dredge_")
    }
    for id in verdict.unlinked:
        after["tag"][id]["linked_tag_id"] = None
    for table in QUOTA:
        for id, size in verdict.quota[table].items():
            after[table][id]["size_bytes"] = size
    return after


def waits_for_its_subject(row: Any, after: Snapshot, now_ms: int) -> bool:
    """Is the candidate a referrer in its time of grace, whose subject may still be pushed?"""
    manifest = after["manifest"][row["manifest_id"]]
    here = {
        other["digest"]
        for other in after["manifest"].values()
        if other["repository_id"] == row["repository_id"]
    }
    return bool(row["due_ms"] > now_ms and manifest["subject"] and manifest["subject"] not in here)


def check_own_tables(after: Snapshot, verdict: Verdict, now_ms: int) -> None:
    """No debt is left where it can be paid, and the events tell of each death once."""
    assert not after["dredge_blob_candidate"]
    assert not after["dredge_tombstone"]
    states = {id: (row["state"], row["namespace_user_id"]) for id, row in after["repository"].items()}
    for row in after["dredge_manifest_candidate"].values():
        state, owner = states[row["repository_id"]]
        untouched = state == 3 or not after["user"][owner]["enabled"]
        assert untouched or waits_for_its_subject(row, after, now_ms)
    collected: Counter[tuple[int, str]] = Counter()
    erased: Counter[tuple[str, str | None]] = Counter()
    left: set[tuple[int, str]] = set()
    for row in after["dredge_event"].values():
        data = json.loads(row["data"])
        if row["type"] == "registry.manifest.collected":
            collected.update((data["repository_id"], item["digest"]) for item in data["items"])
            left |= {(data["repository_id"], digest) for digest in data["blobs"]}
        if row["type"] == "registry.blob.erased":
            erased.update((item["location"], item["subject"]) for item in data["items"])
    assert sorted(collected.elements()) == verdict.dead_digests
    assert verdict.left_digests <= left <= verdict.released_digests
    assert len(erased) == len(verdict.objects)
    history = after["dredge_collection"].values()
    assert sum(row["tags"] for row in history) == len(verdict.gone.get("tag", ()))
    assert sum(row["manifests"] for row in history) == len(verdict.gone.get("manifest", ()))
    assert sum(row["blobs"] for row in history) == len(verdict.gone.get("imagestorage", ()))
    assert sum(row["objects"] for row in history) == len(verdict.objects)


def agree(databases: Databases, plan: Plan, policy: Policy, batch: int) -> None:
    """Collect the plan's registry to rest and compare everything with the oracle."""
    with tempfile.TemporaryDirectory() as directory, databases.clone() as url:
        store = {name: LocalStore(Path(directory) / name, fsync=False) for name in (LOCATION, "eu")}
        world = World(url)
        try:
            built = Built(world, plan, store)
            before, objects = built.trace(policy), built.objects()
            verdict = Oracle(before, world.now_ms, policy).judge()
            context = make_context(store, policy=policy, settings=Settings(batch_manifests=batch))
            run_to_quiescence(context)
            after = world.snapshot()
            expected = expected_after(before, verdict)
            assert {table: after[table] for table in expected} == expected
            assert objects - built.objects() == verdict.objects
            check_own_tables(after, verdict, world.now_ms)
            with closing(open_snapshot(url)) as connection:
                proven = Verifier(connection).run()
            assert proven.problems == ()
            assert proven.manifests == len(verdict.gone.get("manifest", ()))
            assert proven.blobs == len(verdict.gone.get("imagestorage", ()))
        finally:
            world.close()


PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
QUICK = settings(max_examples=15, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=int(os.environ.get("EXAMPLES", "250")), print_blob=True)


@QUICK
@given(plan=plans, policy=policies, batch=st.sampled_from([2000, 16, 3]))
def test_the_collector_agrees_with_the_oracle(
    databases: Databases, plan: Plan, policy: Policy, batch: int
) -> None:
    agree(databases, plan, policy, batch)


@pytest.mark.slow
@LONG
@given(plan=plans, policy=policies, batch=st.sampled_from([2000, 16, 3]))
def test_the_collector_agrees_with_the_oracle_for_long(
    databases: Databases, plan: Plan, policy: Policy, batch: int
) -> None:
    agree(databases, plan, policy, batch)
