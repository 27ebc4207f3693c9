"""Clocks that are wrong, and tenants who come due all at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from model import namespace
from model.policy import HOUR_MS
from tests.support.pipeline import Recorded, make_context, run_to_quiescence
from tests.support.world import World
from worker.jobs.scan import scan
from worker.settings import Settings

MINUTE_MS = 60_000


def test_case_14_a_window_shortened_to_zero_leaves_the_others_their_share(
    world: World, tmp_path: Path
) -> None:
    """A thousand repositories of one tenant come due at once; the other's ten are all in the next scan."""
    crowd, other = world.namespace("crowd"), world.namespace("other", window_s=0)
    manifest_of = {}
    for owner, count in ((crowd, 300), (other, 10)):
        for _ in range(count):
            repository = world.repository(namespace=owner)
            world.tag(manifest=world.manifest(repository), ended_ms=world.now_ms - 100 * HOUR_MS)
            manifest_of[int(repository)] = owner
    context = make_context(tmp_path, settings=Settings(scan_limit=40))
    queue = context.queue
    assert isinstance(queue, Recorded)
    scan(context)
    assert [manifest_of[id] for id in queue.repositories] == [other] * 10
    queue.repositories.clear()
    namespace.change_window("crowd", 0)
    scan(context)
    owners = [manifest_of[id] for id in queue.repositories]
    assert len(owners) == 40 and owners.count(other) == 10
    run_to_quiescence(context)
    assert not world.value("SELECT count(*) FROM manifest")


def test_case_15_only_the_databases_clock_decides(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is ten minutes ahead takes nothing that has five minutes left."""
    window_ms = 14 * 24 * HOUR_MS
    kept = world.tag("five minutes left", ended_ms=world.now_ms - window_ms + 5 * MINUTE_MS)
    marked = world.blob()
    world.uploaded(marked, expires_ms=world.now_ms + 5 * MINUTE_MS)
    gone = world.tag("over", ended_ms=world.now_ms - window_ms - MINUTE_MS)
    ahead = time.time
    monkeypatch.setattr(time, "time", lambda: ahead() + 600)
    with world.only_removes(tag=gone, manifest=gone.manifest):
        run_to_quiescence(make_context(tmp_path))
    assert world.value("SELECT count(*) FROM tag WHERE id = %s", (int(kept),)) == 1
