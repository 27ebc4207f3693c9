"""Windows, limits of the fleet and the database's health: what waits, and what stays meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model.controls import limits
from model.controls.health import DatabaseHealth
from model.db.clock import now_ms
from model.policy import HOUR_MS, Policy
from model.registry import delete_repository
from model.window import parse_window
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import make_context, run_to_quiescence
from tests.support.world import Row, World
from worker.jobs import limits as pacing
from worker.jobs.collect import collect_repository
from worker.jobs.context import JobContext
from worker.jobs.due import enqueue_due
from worker.jobs.erase import erase
from worker.jobs.limits import FleetLimits
from worker.jobs.pace import Budget
from worker.jobs.purge import enqueue_purges, purge_repository
from worker.jobs.review import review
from worker.jobs.scan import scan
from worker.settings import Settings

FORTNIGHT_MS = 14 * 24 * HOUR_MS


def window(world: World, *, opens_in_h: int, hours: int = 1) -> Policy:
    """A window around, or away from, the database's clock, in UTC."""
    start = datetime.fromtimestamp(world.now_ms / 1000, UTC) + timedelta(hours=opens_in_h)
    text = f"{start:%H:%M}-{start + timedelta(hours=hours):%H:%M}"
    return Policy(window=parse_window(text), purge_grace_ms=0)


def garbage(world: World, *, repository: Row | None = None, images: int = 1) -> list[Row]:
    """Tags past their window, each with an image of one blob."""
    return [
        world.tag(
            f"v{n}",
            manifest=world.manifest(repository, blobs=[world.blob(1000)]),
            ended_ms=world.now_ms - FORTNIGHT_MS - HOUR_MS,
        )
        for n in range(images)
    ]


def counts(world: World) -> dict[str, int]:
    """How many rows each table has that something is removed from."""
    tables = ("tag", "manifest", "manifestblob", "imagestorage", "repository", "dredge_tombstone")
    return {table: world.value(f"SELECT count(*) FROM {table}") for table in tables}


def work(context: JobContext, world: World, deleted: int) -> None:
    """One turn of every stage."""
    scan(context)
    enqueue_due(context)
    enqueue_purges(context)
    collect_repository(context, world.repository_id, budget_s=0)
    purge_repository(context, deleted, budget_s=0)
    review(context, budget_s=0)
    erase(context, budget_s=0)


def test_outside_of_the_window_no_stage_removes_anything_and_inside_all_of_it_goes(
    world: World, tmp_path: Path
) -> None:
    world.tag("bystander")
    garbage(world)
    gone = world.repository("gone")
    garbage(world, repository=gone)
    delete_repository("acme/gone", policy=Policy(purge_grace_ms=0))
    unused = world.blob()
    world.insert("dredge_blob_candidate", blob_id=unused, created_ms=1)
    world.insert("dredge_tombstone", path="uploads/x", location="local_us", size=1, created_ms=1, due_ms=1)
    closed = make_context(tmp_path, policy=window(world, opens_in_h=2))
    before = counts(world)
    work(closed, world, gone)
    assert counts(world) == before
    assert closed.queue.repositories == [] and closed.queue.purges == []  # type: ignore[attr-defined]
    opened = make_context(tmp_path, policy=window(world, opens_in_h=-1, hours=3))
    purge_repository(opened, gone, budget_s=PATIENCE_S)
    world.execute("UPDATE dredge_due SET next_try_ms = 0")
    run_to_quiescence(opened)
    after = counts(world)
    assert after == {
        "tag": 1,
        "manifest": 1,
        "manifestblob": 0,
        "imagestorage": 0,
        "repository": 1,
        "dredge_tombstone": 0,
    }


def test_what_one_worker_used_makes_every_worker_wait(world: World, tmp_path: Path) -> None:
    kept = world.tag("bystander")
    garbage(world, images=2)
    settings = Settings(fleet_rows_per_s=1)
    first, second = (make_context(tmp_path, settings=settings) for _ in range(2))
    begun_ms = now_ms()
    collected = collect_repository(first, world.repository_id, budget_s=PATIENCE_S)
    assert collected.tags == 2
    ((name, free_ms),) = world.rows("SELECT name, free_ms FROM dredge_limit")
    assert name == "rows" and free_ms >= begun_ms + collected.rows * 1000
    garbage(world)
    with world.changes() as changes:
        turn = collect_repository(second, world.repository_id, budget_s=0)
    assert (turn.tags, turn.batches, turn.has_more, turn.stopped) == (0, 0, True, "")
    assert set(changes.removed) == set() and world.value("SELECT count(*) FROM tag") == 2
    world.execute("UPDATE dredge_limit SET free_ms = 0")
    assert collect_repository(second, world.repository_id, budget_s=0).tags == 1
    assert world.rows("SELECT id FROM tag") == [(int(kept),)]


def test_erasing_keeps_to_objects_and_bytes_of_the_fleet(world: World, tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / "uploads").mkdir(exist_ok=True)
        (tmp_path / "uploads" / str(n)).write_bytes(b"x" * 100)
        world.insert(
            "dredge_tombstone", path=f"uploads/{n}", location="local_us", size=100, created_ms=1, due_ms=1
        )
    settings = Settings(fleet_objects_per_s=2, fleet_bytes_per_s=10)
    contexts = [make_context(tmp_path, settings=settings) for _ in range(2)]
    begun_ms = now_ms()
    assert erase(contexts[0], budget_s=0).objects == 2
    free = dict(world.rows("SELECT name, free_ms FROM dredge_limit"))
    assert free["objects"] >= begun_ms + 1000 and free["bytes"] >= begun_ms + 20_000
    assert (
        erase(contexts[1], budget_s=0).has_more and world.value("SELECT count(*) FROM dredge_tombstone") == 3
    )
    for _ in range(2):
        world.execute("UPDATE dredge_limit SET free_ms = 0")
        erase(contexts[1], budget_s=0)
    assert world.value("SELECT count(*) FROM dredge_tombstone") == 0 and not list(
        (tmp_path / "uploads").glob("*")
    )


def test_the_trash_is_emptied_within_the_limits_too(world: World, tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "x").write_bytes(b"x" * 100)
    world.insert("dredge_tombstone", path="uploads/x", location="local_us", size=100, created_ms=1, due_ms=1)
    settings = Settings(fleet_bytes_per_s=10, quarantine_s=86_400)
    context = make_context(tmp_path, settings=settings)
    assert erase(context, budget_s=0).set_aside == 1
    over = "UPDATE dredge_quarantine SET look_ms = 0, purge_ms = 1, token = NULL"
    world.execute(over)
    limits.close("bytes", for_ms=HOUR_MS)
    assert erase(context, budget_s=0).objects == 0
    assert world.value("SELECT count(*) FROM dredge_quarantine") == 1
    world.execute("UPDATE dredge_limit SET free_ms = 0")
    world.execute(over)
    begun_ms = now_ms()
    assert erase(context, budget_s=0).objects == 1
    assert world.value("SELECT free_ms FROM dredge_limit WHERE name = 'bytes'") >= begun_ms + 10_000
    assert world.value("SELECT count(*) FROM dredge_quarantine") == 0
    assert not [path for path in (tmp_path / "dredge-trash").rglob("*") if path.is_file()]


def test_a_worker_waits_as_long_as_its_budget_allows(world: World) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            world.execute("UPDATE dredge_limit SET free_ms = 0")

    waiting = FleetLimits(Settings(fleet_rows_per_s=10), sleep=sleep)
    assert waiting.admit("rows", budget=Budget(0)) and not slept
    waiting.charge(rows=36_000_000)
    assert not waiting.admit("rows", budget=Budget(0)) and not slept
    assert waiting.admit("rows", budget=Budget(3600)) and slept == [1.0] * 3
    unlimited = FleetLimits(Settings(), sleep=sleep)
    unlimited.charge(rows=1_000_000)
    assert unlimited.admit("rows", budget=Budget(0))


def test_two_workers_that_are_charged_at_once_both_count(world: World) -> None:
    begun_ms = now_ms()
    for _ in range(3):
        limits.charge("objects", 10, per_s=1)
    limits.charge("objects", 0, per_s=1)
    assert world.value("SELECT free_ms FROM dredge_limit") >= begun_ms + 30_000
    assert [limit.name for limit in limits.list_limits()] == ["objects"]


def test_a_database_that_fares_badly_stops_every_worker_until_it_is_well(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage(world)
    lagging = DatabaseHealth(lag_ms=11_000, active_sessions=3, sees_all=True)
    monkeypatch.setattr(pacing, "read_health", lambda: lagging)
    settings = Settings(throttle_lag_s=10)
    seeing, other = (make_context(tmp_path, settings=settings) for _ in range(2))
    assert collect_repository(seeing, world.repository_id, budget_s=0).has_more
    assert (
        world.value("SELECT count(*) FROM tag") == 1
        and world.value("SELECT name FROM dredge_limit") == "health"
    )
    well = DatabaseHealth(lag_ms=9_000, active_sessions=3, sees_all=True)
    monkeypatch.setattr(pacing, "read_health", lambda: well)
    assert collect_repository(other, world.repository_id, budget_s=0).has_more
    assert world.value("SELECT count(*) FROM tag") == 1
    world.execute("UPDATE dredge_limit SET free_ms = 0")
    assert collect_repository(other, world.repository_id, budget_s=0).tags == 1


@pytest.mark.parametrize(
    ("lag_s", "sessions", "problem"),
    [
        (0, 0, ""),
        (10, 0, ""),
        (9, 0, "a standby is 10.0 s behind"),
        (0, 2, "3 active sessions"),
        (0, 3, ""),
    ],
)
def test_a_bound_of_the_health_is_exceeded_not_reached(lag_s: float, sessions: int, problem: str) -> None:
    assert DatabaseHealth(10_000, 3, True).find_problem(lag_s=lag_s, sessions=sessions) == problem
