"""Each sentence of `dredge check` about servers, tables and stages, and what brings it about."""

from __future__ import annotations

import pytest
import redis

from tests.support.servers.faults import is_bulk
from tests.support.servers.unruly import unruly_server
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage


def test_check_says_what_works(world: World, dredge: Dredge, garbage: Garbage, valkey: str) -> None:
    world.execute(f"ALTER DATABASE \"{world.url.rpartition('/')[2]}\" SET statement_timeout = '1h'")
    said = dredge("check", BROKER_URL=valkey, QUARANTINE_S="86400")
    assert said.code == 0, said.out
    for sentence in (
        "all tables, columns and indexes are there",
        "tags that Dredge ends: see `dredge init --triggers`",
        "Sessions replace what the role, database or server sets: ",
        "can be used for queues, results, marks, schedule",
        ": objects can be written, read and erased",
    ):
        assert sentence in said.out
    assert dredge("init", "--triggers").code == 0
    assert "every ended tag: see" in dredge("check", BROKER_URL=valkey).out
    assert garbage.objects() == 1


def test_check_names_blobs_at_a_place_that_is_not_configured(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    world.blob(placement="far_away")
    said = dredge("check")
    assert said.code == 1 and "Blobs lie at far_away, which DREDGE_STORAGE does not name" in said.out


def test_check_names_what_a_stage_has_set_aside(world: World, dredge: Dredge, garbage: Garbage) -> None:
    world.execute(
        "INSERT INTO dredge_poison (stage, key, created_ms, due_ms, tries, last_error)"
        " VALUES ('review', '7', 1, 0, 3, 'x')"
    )
    said = dredge("check")
    assert said.code == 1
    assert "1 set aside by review: `dredge status` says why, `dredge retry review` tries again" in said.out


def test_check_says_when_the_role_cannot_see_what_throttling_needs(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    world.execute("CREATE ROLE unseeing LOGIN")
    try:
        world.execute("GRANT USAGE ON SCHEMA public TO unseeing")
        world.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO unseeing")
        world.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO unseeing")
        url = world.url.replace("//dredge@", "//unseeing@")
        said = dredge("check", DATABASE_URL=url, THROTTLE_SESSIONS="5")
        assert "The role cannot see standbys and sessions: GRANT pg_read_all_stats" in said.out, said.out
        assert "active session" in dredge("check", THROTTLE_SESSIONS="5").out
    finally:
        world.execute("DROP OWNED BY unseeing")
        world.execute("DROP ROLE unseeing")


def test_check_names_a_broker_that_drops_messages_when_it_is_full(
    world: World, dredge: Dredge, garbage: Garbage, valkey: str
) -> None:
    with redis.Redis.from_url(valkey) as client:
        before = {name: client.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy")}
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            said = dredge("check", BROKER_URL=valkey)
        finally:
            for name, value in before.items():
                client.config_set(name, value)
    assert said.code == 1
    assert "The broker throws messages away when it is full (allkeys-lru): set maxmemory-policy" in said.out


def test_check_says_that_the_redis_of_a_quay_that_writes_here_is_missing(
    world: World, dredge: Dredge, garbage: Garbage, valkey: str
) -> None:
    missing = "A Quay writes here and DREDGE_QUAY_REDIS_URL is not set"
    what = ": its locks are not taken, and its cache keeps what was collected"
    assert missing + what in dredge("check").out
    assert missing not in dredge("check", QUAY_REDIS_URL=valkey).out
    # Quay never clears this mark of its blobs, and Dredge does.
    world.execute("UPDATE imagestorage SET uploading = false")
    assert missing not in dredge("check").out


def test_check_tries_a_bulk_delete_and_says_that_the_store_has_none(
    world: World, dredge: Dredge, s3_endpoint: str, bucket_url: str
) -> None:
    with unruly_server(s3_endpoint) as server:
        storage = f"local_us={bucket_url.replace(s3_endpoint, server.url)}"
        assert "deleted one at a time" not in dredge("check", STORAGE=storage).out
        assert any(is_bulk(*request) for request in server.requests)
        server.answer = lambda method, path, _body: (501, b"") if is_bulk(method, path) else None
        said = dredge("check", STORAGE=storage)
    assert "erased; bulk deletes fail, objects are deleted one at a time" in said.out, said.out


@pytest.mark.parametrize(
    ("user", "advice"),
    [
        ("nobody:wrong@", "correct user and password in DREDGE_BROKER_URL"),
        ("", "start it, or correct DREDGE_BROKER_URL"),
    ],
)
def test_check_says_why_a_redis_cannot_be_used(
    world: World, dredge: Dredge, garbage: Garbage, valkey: str, user: str, advice: str
) -> None:
    url = valkey.replace("://", f"://{user}") if user else "redis://127.0.0.1:1/0"
    said = dredge("check", BROKER_URL=url)
    assert said.code == 1 and "queues cannot be used (" in said.out and advice in said.out, said.out
    assert "wrong" not in said.out.replace("is wrong", "")
