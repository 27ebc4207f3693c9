"""Each periodic task has a row with its last end; a late one is seen, and claimed once."""

from __future__ import annotations

import pytest

from model import periodic
from tests.support.world import World

HOUR_MS = 3_600_000
SWEEP_MS = 6 * HOUR_MS


def age(world: World, name: str, ms: int) -> None:
    world.execute(
        "UPDATE dredge_periodic_task SET since_ms = since_ms - %s, ended_ms = ended_ms - %s WHERE name = %s",
        (ms, ms, name),
    )


def late() -> list[str]:
    return [each.name for each in periodic.list_periodic() if each.is_late]


SLACKS_MS = {30_000: 300_000, 60_000: 540_000, SWEEP_MS: HOUR_MS}


@pytest.mark.parametrize(("interval_ms", "slack_ms"), SLACKS_MS.items())
def test_a_task_is_late_when_its_interval_and_its_slack_are_over(
    world: World, interval_ms: int, slack_ms: int
) -> None:
    periodic.record_end("prompt", interval_ms)
    periodic.record_end("tardy", interval_ms)
    age(world, "prompt", interval_ms + slack_ms - 60_000)
    age(world, "tardy", interval_ms + slack_ms)
    assert late() == ["tardy"]
    periodic.record_end("tardy", interval_ms)
    assert late() == []


def test_a_task_that_never_ended_is_late_counted_from_the_first_time_it_was_expected(world: World) -> None:
    assert periodic.claim_late({"sweep": SWEEP_MS}) == ()
    ((ended_ms,),) = world.rows("SELECT ended_ms FROM dredge_periodic_task")
    assert ended_ms is None and late() == []
    age(world, "sweep", SWEEP_MS + HOUR_MS)
    assert late() == ["sweep"]


def test_a_late_task_is_claimed_once_in_ten_minutes_and_the_bystander_never(world: World) -> None:
    expected = {"sweep": SWEEP_MS, "prune": 60_000}
    for name, interval_ms in expected.items():
        periodic.record_end(name, interval_ms)
    age(world, "sweep", SWEEP_MS + HOUR_MS)
    assert periodic.claim_late(expected) == ("sweep",)
    assert periodic.claim_late(expected) == ()
    world.execute(
        "UPDATE dredge_periodic_task SET sent_ms = sent_ms - %s WHERE name = 'sweep'", (periodic.AGAIN_MS,)
    )
    assert periodic.claim_late(expected) == ("sweep",)
    assert world.value("SELECT sent_ms FROM dredge_periodic_task WHERE name = 'prune'") == 0


def test_a_changed_interval_counts_at_once(world: World) -> None:
    periodic.record_end("sweep", 60_000)
    age(world, "sweep", HOUR_MS)
    assert late() == ["sweep"]
    assert periodic.claim_late({"sweep": SWEEP_MS}) == ()
    assert late() == []
