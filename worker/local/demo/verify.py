"""Verify that everything in use still exists, byte for byte, and that all garbage is removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.db.clock import now_ms
from model.fsck.reachability import Reachability, read_reachability
from model.policy import Policy
from worker.storage.base import NoSuchObject, Stores

# Tags whose recovery window closes while the demonstration runs are not judged.
MARGIN_MS = 15 * 60_000


@dataclass(frozen=True)
class Expectation:
    """What must exist at the end, and what must not."""

    survivors: Reachability
    doomed: Reachability


@dataclass(frozen=True)
class DemoResult:
    """Counts of errors, both 0 unless the collector failed, and of verified objects."""

    live_missing: int
    garbage_left: int
    live_manifests: int
    live_objects: int


def expect(policy: Policy) -> Expectation:
    """Read the expectation from the registry before the collection."""
    moment = now_ms()
    everything, live = read_reachability(policy=policy, at_ms=moment)
    _, survivors = read_reachability(policy=policy, at_ms=moment + MARGIN_MS)
    doomed = Reachability(
        everything.manifests - live.manifests,
        everything.blobs - live.blobs,
        {place: digest for place, digest in everything.objects.items() if place not in live.objects},
    )
    return Expectation(survivors, doomed)


def verify(
    expected: Expectation, stores: Stores, policy: Policy, *, progress: Callable[[], object]
) -> DemoResult:
    """Compare with the registry as it is now; read and hash every object that must exist."""
    everything, _ = read_reachability(policy=policy, at_ms=now_ms())
    missing = len(expected.survivors.manifests - everything.manifests)
    missing += len(expected.survivors.blobs - everything.blobs)
    for (location, path), digest in expected.survivors.objects.items():
        missing += not _intact(stores, location, path, digest)
        progress()
    left = len(expected.doomed.manifests & everything.manifests)
    left += len(expected.doomed.blobs & everything.blobs)
    left += sum(place not in everything.objects for place in _listed(stores))
    return DemoResult(missing, left, len(expected.survivors.manifests), len(expected.survivors.objects))


def _intact(stores: Stores, location: str, path: str, digest: str) -> bool:
    found = hashlib.new(digest.partition(":")[0])
    try:
        for chunk in stores[location].read(path):
            found.update(chunk)
    except NoSuchObject:
        return False
    return found.hexdigest() == digest.partition(":")[2]


def _listed(stores: Stores) -> Iterator[tuple[str, str]]:
    for location, store in stores.items():
        for item in store.list():
            yield location, item.path
