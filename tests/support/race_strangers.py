"""Actors that do not follow our protocol: an unmodified Quay's push, and a flush of its Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import redis
import redis_lock

from model.digest import of
from model.storage_paths import object_path
from tests.support.explorer_steps import Step, stop_before
from tests.support.quay_writer import link_blob, tag_manifest
from tests.support.race_actors import RaceActors
from tests.support.race_harness import TagClaim
from worker.quay.quay_lock import COLLECTOR

REDIS = frozenset({"redis"})
# Quay waits three seconds for its lock; here it tries this many times.
ASKED = 3


class QuayRefused(Exception):
    """Quay answered with an error, and its client tries again."""


class QuayActors:
    """An unmodified Quay on the same tables and store; its locks are at `redis_url`, if that is given."""

    def __init__(self, actors: RaceActors, redis_url: str = "") -> None:
        self.actors, self.redis_url = actors, redis_url

    def push(self, text: str, tag: str) -> Callable[[], TagClaim]:
        """Push an image of one blob: the object first, then the rows.

        Checks whether the object exists, and drops its own upload if so.  Then takes the lock, and commits
        the blob's row while it holds the lock.  Locks no row and ignores tombstones.
        """
        digest, where = of(text.encode()), self.actors.world.repository_id

        def work() -> TagClaim:
            store, path = self.actors.harness.store, object_path(digest, True, "")
            if store.size(path) is None:
                store.write(path, [text.encode()])
            try:
                with self.lock(digest):
                    blob = link_blob(where, digest, len(text))
            except QuayRefused:
                # Its object stays, as a Quay leaves it: the sweep takes it when it is no longer young.
                self.actors.harness.left_by_quay.add(path)
                raise
            image = self.actors.image_of(digest, len(text), note=tag)
            tag_manifest(where, [blob], image.digest, image.content.decode(), tag)
            return TagClaim(where, tag, image.digest)

        return work

    @contextmanager
    def lock(self, digest: str) -> Iterator[None]:
        """Take Quay's lock of the digest; after three seconds go on without it, unless a collector has it."""
        if not self.redis_url:
            yield
            return
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            lock = redis_lock.Lock(client, f"BLOB_DELETE_{digest}", expire=60)
            for _ in range(ASKED):
                if lock.acquire(blocking=False):
                    break
            else:
                if str(client.get(f"lock:BLOB_DELETE_{digest}") or "").startswith(COLLECTOR):
                    raise QuayRefused("a collector holds the digest's lock")
            try:
                yield
            finally:
                with suppress(redis_lock.NotAcquired):
                    lock.release()

    def forget(self) -> None:
        """Make an actor that flushes Quay's Redis, as a failover to a standby without the locks does."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()


@contextmanager
def redis_steps() -> Iterator[None]:
    """Make each command to Redis a step of the explorer."""
    real: Any = redis.Redis.execute_command

    def stepped(self: redis.Redis, *arguments: Any, **options: Any) -> Any:
        stop_before(Step(f"redis {arguments[0]}", REDIS, True))
        return real(self, *arguments, **options)

    with patch.object(redis.Redis, "execute_command", stepped):
        yield
