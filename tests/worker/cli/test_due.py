"""`dredge due`: what waits, since when, and why."""

from __future__ import annotations

from model.controls.breaker import check
from model.controls.holds import set_hold
from model.gc.due.attempt import claim, record_failure, release
from model.gc.due.note import note_due
from model.gc.due.waiting import mark_queued
from model.policy import HOUR_MS, Policy
from tests.support.world import Row, World
from tests.worker.cli.conftest import Dredge, Garbage


def due(world: World, garbage: Garbage, name: str, *, namespace: Row | None = None) -> Row:
    """A repository with garbage for an hour."""
    made = world.repository(name, namespace=namespace)
    garbage.image("v1", repository=made, dead_for_ms=HOUR_MS)
    note_due({made: world.now_ms - HOUR_MS})
    return made


def test_due_says_of_each_repository_why_it_waits(world: World, dredge: Dredge, garbage: Garbage) -> None:
    due(world, garbage, "fresh")
    queued, busy, failed = (due(world, garbage, name) for name in ("queued", "busy", "failed"))
    put_off, held = due(world, garbage, "put-off"), due(world, garbage, "held")
    mark_queued([queued])
    claim([busy, failed, put_off])
    record_failure(failed, "the odd manifest")
    release([put_off], delay_ms=HOUR_MS)
    set_hold(repository_id=held, reason="legal", author="me")
    with world.changes() as changes:
        lines = {line["repository"]: line for line in dredge("due", "--json").lines}
        text = dredge("due").out
    assert not changes
    assert {name.removeprefix("acme/"): line["why"] for name, line in lines.items()} == {
        "fresh": "the next scan enqueues it",
        "queued": "waits in the queue",
        "busy": "is being collected",
        "failed": "failed 1 time: the odd manifest",
        "put-off": "could not be collected and was put off",
        "held": "acme/held is on hold: legal",
    }
    assert lines["acme/failed"]["next_try_ms"] > world.now_ms and lines["acme/fresh"]["next_try_ms"] is None
    assert all(line["waiting_ms"] // HOUR_MS in (0, 1) for line in lines.values())
    assert "due: 6 repositories\n" in text and "acme/held is on hold: legal" in text


def test_due_tells_of_an_open_breaker_and_of_a_namespace_with_its_share(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    globex = world.namespace("globex")
    first, _ = (due(world, garbage, name, namespace=globex) for name in ("one", "two"))
    due(world, garbage, "stopped")
    mark_queued([first])
    check([world.namespace_id], policy=Policy(breaker_share=1, breaker_manifests=1))
    lines = {line["repository"]: line["why"] for line in dredge("due", "--json", NAMESPACE_SHARE="1").lines}
    assert lines["globex/two"] == "its namespace has its share of 1 in the queue"
    assert lines["acme/stopped"].startswith("the breaker of acme is open: ")


def test_due_lists_what_comes_due_within_a_time(world: World, dredge: Dredge, garbage: Garbage) -> None:
    fortnight_ms = 14 * 24 * HOUR_MS
    for name, hours in (("soon", 2), ("later", 30)):
        world.tag(
            "v1", repository=world.repository(name), ended_ms=world.now_ms - fortnight_ms + hours * HOUR_MS
        )
    other = world.namespace("week", window_s=7 * 24 * 3600)
    world.tag(
        "v1",
        repository=world.repository("app", namespace=other),
        ended_ms=world.now_ms - fortnight_ms // 2 + HOUR_MS,
    )
    assert dredge("due", "--json").lines == []
    lines = dredge("due", "--within", "3h", "--json").lines
    assert {line["repository"] for line in lines} == {"week/app", "acme/soon"}
    assert all(line["waiting_ms"] < 0 for line in lines)
    assert {line["why"] for line in lines} == {"its recovery window has not closed"}
    assert len(dredge("due", "--within", "2d", "--json").lines) == 3 and garbage.objects() == 1
    assert dredge("due", "--within", "soon").code == 2
