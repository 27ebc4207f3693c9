"""Readers at full speed while a real worker collects what is being deleted: nobody is told what is gone."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from model import registry
from model.cache.open import open_cache
from model.db.connection import db
from model.registry.cached import CachedLookups
from tests.model.cache.kinds import Notes
from tests.support.patience import PATIENCE_S
from tests.support.rows import Row
from tests.support.world import World
from tests.worker.broker.conftest import client, environment
from tests.worker.broker.running import worker
from worker.client import Client

__all__ = ["client", "environment"]

READERS, LONGEST_S = 3, PATIENCE_S


class Truth:
    """What can no longer be told: only ever grows, and only after the invalidation was delivered."""

    def __init__(self) -> None:
        self.untagged: set[str] = set()
        self.collected: set[str] = set()
        self.blobs: set[str] = set()
        self.over = threading.Event()
        self.lies: list[str] = []
        self.reads = 0


def reader(cached: CachedLookups, images: dict[str, Row], repository: Row, truth: Truth, seed: int) -> None:
    """Reads anything, notes what was known before it began, and compares."""
    chance = random.Random(seed)
    names = sorted(images)
    while not truth.over.is_set():
        name = chance.choice(names)
        image = images[name]
        untagged, collected, blobs = set(truth.untagged), set(truth.collected), set(truth.blobs)
        page = {tag["name"] for tag in cached.active_tags(int(repository), limit=1000)["tags"]}
        truth.lies += [f"tag {each}" for each in page & untagged]
        if cached.manifest(int(repository), image.digest) and image.digest in collected:
            truth.lies.append(f"manifest of {name}")
        blob = image.blob.digest
        if cached.blob(repository.namespace_name, repository.name, blob) and blob in blobs:
            truth.lies.append(f"blob of {name}")
        truth.reads += 1
    db.close()


def collect(client: Client, world: World, repository: Row, images: dict[str, Row], truth: Truth) -> None:
    """Have the worker collect; what had gone before it was asked is forgotten when it has answered.

    The worker does one task at a time: whatever other task removed it has also told the cache.
    """
    there = {digest for (digest,) in world.rows("SELECT digest FROM manifest")}
    gone = {image.digest: image.blob.digest for image in images.values() if image.digest not in there}
    client.collect(int(repository)).get(timeout=PATIENCE_S)
    truth.collected |= set(gone)
    truth.blobs |= set(gone.values())


def delete_all(
    cached: CachedLookups, client: Client, world: World, repository: Row, images: dict[str, Row], truth: Truth
) -> None:
    """Delete tag after tag and collect now and then, within the time."""
    deadline = time.monotonic() + LONGEST_S
    for number, name in enumerate(sorted(images)):
        assert time.monotonic() < deadline, "too slow to say anything"
        with cached.changing_tags(int(repository)):
            registry.delete_tag(int(repository), name)
        truth.untagged.add(name)
        if number % 5 == 4:
            collect(client, world, repository, images, truth)
    while len(truth.collected) < len(images):
        assert time.monotonic() < deadline, "not everything was collected"
        collect(client, world, repository, images, truth)


def live(
    world: World, environment: dict[str, str], directory: Path, client: Client, notes: Notes, count: int
) -> Truth:
    """Everything at once on `count` images; the worker has `environment`, the readers its Valkey."""
    repository = world.repository(namespace=world.namespace("quick", window_s=0))
    images: dict[str, Row] = {}
    for number in range(count):
        blob = world.blob()
        image = world.manifest(repository=repository, blobs=[blob])
        images[f"v{number:03}"] = Row(image, digest=image.digest, blob=blob)
        world.tag(f"v{number:03}", repository=repository, manifest=image)
    cached = CachedLookups(open_cache(environment["READERS_CACHE_URL"], recorder=notes))
    truth = Truth()
    arguments: tuple[Any, ...] = (images, repository, truth)
    readers = [
        threading.Thread(target=reader, args=(cached, *arguments, seed), daemon=True)
        for seed in range(READERS)
    ]
    with worker(environment, directory):
        for each in readers:
            each.start()
        try:
            delete_all(cached, client, world, repository, images, truth)
            time.sleep(0.2)
        finally:
            truth.over.set()
            for each in readers:
                each.join(PATIENCE_S)
    return truth


@pytest.mark.slow
def test_every_read_after_an_invalidation_tells_the_truth(
    world: World, environment: dict[str, str], client: Client, tmp_path: Path, notes: Notes
) -> None:
    environment["READERS_CACHE_URL"] = environment["DREDGE_CACHE_URL"]
    truth = live(world, environment, tmp_path, client, notes, 60)
    assert truth.lies == []
    assert truth.reads > 100 and notes.of("hit") > 100 and notes.of("miss") > 50


@pytest.mark.slow
def test_without_the_workers_invalidations_the_readers_do_notice(
    world: World, environment: dict[str, str], client: Client, tmp_path: Path, notes: Notes
) -> None:
    environment["READERS_CACHE_URL"] = environment["DREDGE_CACHE_URL"]
    environment["DREDGE_CACHE_URL"] = "none://"
    truth = live(world, environment, tmp_path, client, notes, 20)
    assert any(lie.startswith("manifest") for lie in truth.lies)
