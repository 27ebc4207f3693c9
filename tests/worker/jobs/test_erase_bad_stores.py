"""Stores that answer oddly: each tombstone is settled, postponed with its reason, or set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.db.clock import now_ms
from model.storage_paths import object_path
from tests.support.eraser import EraserFixture
from tests.support.servers.faults import FAULTS, Fault
from tests.support.servers.unruly import Unruly, unruly_server
from tests.support.world import Row, World
from worker.jobs import erase
from worker.storage.open import open_store
from worker.storage.s3 import S3Store

pytestmark = pytest.mark.slow
# The first turn finds that a store stumbles over bulk deletes, the second goes key by key.
TURNS = 2
DAY_S = 86_400
SET_ASIDE_TOO = (
    "bulk deletes are refused with 501 NotImplemented",
    "single keys are refused with AccessDenied",
    "an error has an empty key",
    "500 on bulk deletes, single ones work",
    "slow down",
    "silence about single keys",
)
CASES = [
    *(pytest.param(fault, 0, id=f"{name}, erased") for name, fault in FAULTS.items()),
    *(pytest.param(FAULTS[name], DAY_S, id=f"{name}, set aside") for name in SET_ASIDE_TOO),
]


@pytest.fixture
def server(s3_endpoint: str) -> Iterator[Unruly]:
    with unruly_server(s3_endpoint) as server:
        yield server


@pytest.fixture
def bucket(
    world: World,
    server: Unruly,
    bucket_url: str,
    s3_endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> EraserFixture:
    """On a busy machine no request is too late to be sent, nor without an answer unless a fault wants it."""
    monkeypatch.setattr(erase, "WINDOW_MS", 300_000)
    url = bucket_url.replace(s3_endpoint, server.url).replace("timeout=30", "timeout=60")
    return EraserFixture(world, tmp_path, store=open_store(url))


def with_timeout(store: Any, seconds: int) -> S3Store:
    """The same store, but for how long a request may stay without an answer."""
    url = store._client.url
    return S3Store(replace(url, options={**url.options, "timeout": str(seconds)}))


def turns(bucket: EraserFixture, quarantine_s: int, count: int = TURNS) -> None:
    """Let the eraser try so often; between two turns all waits are over."""
    for _ in range(count):
        bucket.world.execute("UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = 1")
        bucket.erase(quarantine_s=quarantine_s)


def kept_aside(bucket: EraserFixture) -> set[str]:
    """The paths in quarantine; each has its object in the trash."""
    rows = bucket.world.rows("SELECT path, trash FROM dredge_quarantine")
    assert {trash for _, trash in rows} == {seen.path for seen in bucket.store.list("dredge-trash")}
    return {path for path, _ in rows}


@pytest.mark.parametrize(("fault", "quarantine_s"), CASES)
def test_case_83_no_odd_answer_leaves_a_tombstone_without_its_reason_or_stops_another_key(
    bucket: EraserFixture, server: Unruly, fault: Fault, quarantine_s: int
) -> None:
    dead = bucket.tombstones(7)
    odd = [tombstone.path for tombstone in dead[2:4]]
    server.answer = fault.make(server, odd)
    bucket.store = with_timeout(bucket.store, fault.timeout_s)
    turns(bucket, quarantine_s)
    waiting = bucket.left()
    expected = dead if fault.all_wait else dead[2:4] if fault.reason else []
    assert waiting == [int(tombstone) for tombstone in expected]
    for tombstone in expected:
        row = bucket.row(tombstone)
        assert fault.reason in row["last_error"] and row["tries"] == TURNS
        assert row["due_ms"] > now_ms()
    server.answer = lambda *_: None
    turns(bucket, quarantine_s, 1)
    assert not bucket.left() and not bucket.paths()
    assert kept_aside(bucket) == ({tombstone.path for tombstone in dead} if quarantine_s else set())


class Panic(BaseException):
    """As a native library raises it: no `Exception`."""


def panic_about(bucket: EraserFixture, odd: Row, before: str) -> Callable[[], None]:
    """Let the client panic whenever a request names an object; the call ends that."""
    store = bucket.store
    assert isinstance(store, S3Store)
    events = store._client.once.meta.events

    def panic(request: object, **_more: object) -> None:
        named = f"{getattr(request, 'url', '')} {getattr(request, 'body', b'')!r}"
        if odd.path in named:
            raise Panic("index out of bounds")

    events.register(before, panic)
    return lambda: events.unregister(before, panic)


@pytest.mark.parametrize("quarantine_s", [0, DAY_S], ids=["erased", "set aside"])
def test_a_panic_of_a_library_postpones_one_object_and_stops_no_other(
    bucket: EraserFixture, quarantine_s: int
) -> None:
    dead = bucket.tombstones(5)
    calm = panic_about(bucket, dead[2], "before-send.s3")
    turns(bucket, quarantine_s)
    assert bucket.left() == [int(dead[2])]
    row = bucket.row(dead[2])
    assert "Panic: index out of bounds" in row["last_error"] and row["tries"] == TURNS
    assert bucket.paths() == {dead[2].path}
    calm()
    turns(bucket, quarantine_s, 1)
    assert not bucket.left() and not bucket.paths()


def test_an_object_that_cannot_be_copied_waits_and_the_others_are_set_aside(
    bucket: EraserFixture, server: Unruly
) -> None:
    dead = bucket.tombstones(5)
    server.answer = lambda method, path, _body: (
        (403, b"<Error><Code>AccessDenied</Code></Error>")
        if method == "PUT" and path.endswith(f"/{int(dead[1])}-{dead[1].path.replace('/', '_1')}")
        else None
    )
    turns(bucket, DAY_S)
    assert bucket.left() == [int(dead[1])] and "AccessDenied" in bucket.row(dead[1])["last_error"]
    assert bucket.paths() == {dead[1].path}, "what is not in the trash is not deleted"
    server.answer = lambda *_: None
    turns(bucket, DAY_S, 1)
    assert kept_aside(bucket) == {tombstone.path for tombstone in dead} and not bucket.paths()


def test_what_is_needed_again_goes_back_as_soon_as_the_store_lets_it(
    bucket: EraserFixture, server: Unruly
) -> None:
    dead = bucket.tombstones(4)
    turns(bucket, DAY_S, 1)
    bucket.world.blob(digest=dead[0].digest)
    back = object_path(dead[0].digest, True, "")
    server.answer = lambda method, path, _body: (
        (500, b"<Error><Code>InternalError</Code></Error>")
        if method == "PUT" and path.endswith(back)
        else None
    )
    bucket.run(quarantine_s=DAY_S)
    ((error,),) = bucket.world.rows("SELECT last_error FROM dredge_quarantine WHERE last_error <> ''")
    assert "500" in error and back not in bucket.paths()
    server.answer = lambda *_: None
    bucket.world.execute("UPDATE dredge_quarantine SET look_ms = 0")
    bucket.run(quarantine_s=DAY_S)
    assert bucket.paths() == {back}
    assert kept_aside(bucket) == {tombstone.path for tombstone in dead[1:]}
