"""Actors that know nothing of our protocol: an unmodified Quay's push, and its Redis that forgets."""

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
# Quay waits three seconds for its lock; here it asks so often.
ASKED = 3


class QuayRefused(Exception):
    """Quay answered its client with an error, which tries again."""


class QuayActors:
    """An unmodified Quay on the same tables and store; `redis_url` is where its locks are, if anywhere."""

    def __init__(self, actors: RaceActors, redis_url: str = "") -> None:
        self.actors, self.redis_url = actors, redis_url

    def push(self, text: str, tag: str) -> Callable[[], TagClaim]:
        """Push an image of one blob: the object first, then the rows.

        It looks whether the object exists, and drops its own upload if so.  Only then comes the lock, and
        the blob's row is committed under it.  Nobody locks a row or knows of tombstones.
        """
        digest, where = of(text.encode()), self.actors.world.repository_id

        def work() -> TagClaim:
            store, path = self.actors.harness.store, object_path(digest, True, "")
            if store.size(path) is None:
                store.write(path, [text.encode()])
            with self.lock(digest):
                blob = link_blob(where, digest, len(text))
            image = self.actors.image_of(digest, len(text), note=tag)
            tag_manifest(where, [blob], image.digest, image.content.decode(), tag)
            return TagClaim(where, tag, image.digest)

        return work

    @contextmanager
    def lock(self, digest: str) -> Iterator[None]:
        """Its lock of the digest: after three seconds it goes on without it, unless a collector has it."""
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
        """An actor: its Redis is flushed, or a standby is promoted that never heard of the locks."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()


@contextmanager
def redis_steps() -> Iterator[None]:
    """Each command to Redis is a step of the explorer."""
    real: Any = redis.Redis.execute_command

    def stepped(self: redis.Redis, *arguments: Any, **options: Any) -> Any:
        stop_before(Step(f"redis {arguments[0]}", REDIS, True))
        return real(self, *arguments, **options)

    with patch.object(redis.Redis, "execute_command", stepped):
        yield
