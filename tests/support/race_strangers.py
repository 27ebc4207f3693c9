"""Actors that know nothing of our protocol: an unmodified Quay's push, and its Redis that forgets."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import redis
import redis_lock

from model.db.connection import execute, fetch_one, transaction
from model.digest import of
from model.storage_paths import object_path
from tests.support.explorer_steps import Step, stop_before
from tests.support.pipeline import LOCATION
from tests.support.race_actors import Image, RaceActors
from tests.support.race_harness import TagClaim
from worker.quay.quay_lock import COLLECTOR

REDIS = frozenset({"redis"})
# Quay waits three seconds for its lock; here it asks so often.
ASKED = 3

_BLOB = """
INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
VALUES (%(uuid)s, %(size)s, true, true, %(digest)s) RETURNING id
"""
_PLACEMENT = """
INSERT INTO imagestorageplacement (storage_id, location_id)
SELECT %(blob)s, l.id FROM imagestoragelocation l WHERE l.name = %(location)s
ON CONFLICT DO NOTHING
"""
_MARKER = """
INSERT INTO uploadedblob (repository_id, blob_id, uploaded_at, expires_at)
VALUES (%(repository)s, %(blob)s, now() AT TIME ZONE 'utc', now() AT TIME ZONE 'utc' + interval '1 day')
"""
_MANIFEST = """
WITH made AS (
    INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes)
    SELECT %(repository)s, %(digest)s, t.id, %(text)s FROM mediatype t WHERE t.name = %(type)s RETURNING id
), linked AS (
    INSERT INTO manifestblob (repository_id, manifest_id, blob_id)
    SELECT %(repository)s, m.id, %(blob)s FROM made m
)
INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, hidden, reversion, tag_kind_id)
SELECT %(tag)s, %(repository)s, m.id, (extract(epoch from clock_timestamp()) * 1000)::bigint,
       false, false, k.id
FROM made m, tagkind k WHERE k.name = 'tag'
"""


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
                blob = _link(where, digest, len(text))
            image = self.actors.image_of(digest, len(text), note=tag)
            _tag(where, blob, image, tag)
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


def _link(repository: int, digest: str, size: int) -> int:
    """Find or make the blob's row, place it, and mark it as uploaded: one transaction, no row lock."""
    with transaction():
        found = fetch_one("SELECT id FROM imagestorage WHERE content_checksum = %s ORDER BY id", (digest,))
        facts = {"uuid": str(uuid.uuid4()), "size": size, "digest": digest}
        blob = int((found or fetch_one(_BLOB, facts)).id)
        execute(_PLACEMENT, {"blob": blob, "location": LOCATION})
        execute(_MARKER, {"repository": repository, "blob": blob})
    return blob


def _tag(repository: int, blob: int, image: Image, tag: str) -> None:
    with transaction():
        execute(
            _MANIFEST,
            {
                "repository": repository,
                "digest": image.digest,
                "text": image.content.decode(),
                "type": "application/vnd.oci.image.manifest.v1+json",
                "blob": blob,
                "tag": tag,
            },
        )


@contextmanager
def redis_steps() -> Iterator[None]:
    """Each command to Redis is a step of the explorer."""
    real: Any = redis.Redis.execute_command

    def stepped(self: redis.Redis, *arguments: Any, **options: Any) -> Any:
        stop_before(Step(f"redis {arguments[0]}", REDIS, True))
        return real(self, *arguments, **options)

    with patch.object(redis.Redis, "execute_command", stepped):
        yield
