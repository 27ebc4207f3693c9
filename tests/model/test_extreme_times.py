"""Lifetimes at the ends of what a column can hold: shown as never or always, and collected by the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from model import registry
from model.events.trigger import install_triggers
from model.gc.collect import collect_batch
from model.gc.due.attempt import claim
from model.gc.due.note import NEVER_MS
from model.policy import DEFAULT
from tests.support.world import World
from worker.cli import dredge

LEAST, MOST = -(2**63), 2**63 - 1
GONE = {"least": LEAST, "early": -(2**62), "zero": 0, "negative": -1}
KEPT: dict[str, int | None] = {"most": MOST, "late": 2**62, "alive": None, "beyond-dates": 10**17}
# A window of a hundred years, and one that goes back further than any end.
WINDOWS_S = [0, 14 * 86_400, 100 * 366 * 86_400, (2**63 - 1) // 1000]

COMMANDS = [
    "status",
    "due",
    "plan",
    "plan acme/app",
    "fsck",
    "check",
    "history",
    "tag list acme/app",
    *(f"tag history acme/app:{name}" for name in (*GONE, *KEPT)),
    *(f"explain acme/app:{name}" for name in (*GONE, *KEPT)),
    "explain acme/app",
]


@pytest.fixture
def tags(world: World) -> dict[str, int]:
    """A tag for each extreme, on a manifest of its own."""
    ends = {**GONE, **KEPT}
    return {
        name: int(world.tag(name, ended_ms=end_ms, start_ms=min(end_ms or 0, 0)))
        for name, end_ms in ends.items()
    }


@pytest.mark.parametrize("window_s", WINDOWS_S)
def test_what_is_over_goes_by_the_rule_and_what_ends_late_stays(
    world: World, tags: dict[str, int], window_s: int
) -> None:
    world.execute('UPDATE "user" SET removed_tag_expiration_s = %s', (window_s,))
    claim([world.repository_id])
    batch = collect_batch(world.repository_id, policy=DEFAULT, limit=100)
    left = {name for (name,) in world.rows("SELECT name FROM tag")}
    over = {name for name, end_ms in GONE.items() if end_ms <= world.now_ms - window_s * 1000}
    assert left == {*GONE, *KEPT} - over and batch.tags == len(over)
    (due_ms,) = world.rows("SELECT due_ms FROM dredge_due")[0]
    assert due_ms == NEVER_MS or due_ms > world.now_ms


@pytest.mark.parametrize(
    "window_s",
    [
        pytest.param(window_s, marks=() if window_s in (WINDOWS_S[0], WINDOWS_S[-1]) else pytest.mark.slow)
        for window_s in WINDOWS_S
    ],
)
def test_every_command_shows_them(
    world: World, tags: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window_s: int
) -> None:
    monkeypatch.setenv("DREDGE_DATABASE_URL", world.url)
    monkeypatch.setenv("DREDGE_STORAGE", str(tmp_path))
    world.execute('UPDATE "user" SET removed_tag_expiration_s = %s', (window_s,))
    wrong: dict[str, Any] = {}
    digests = world.rows("SELECT digest FROM manifest")
    for command in [*COMMANDS, *(f"explain acme/app@{digest}" for (digest,) in digests)]:
        for more in ([], ["--json"]):
            result = CliRunner().invoke(dredge, [*command.split(), *more])
            if (result.exit_code and command not in ("check", "fsck")) or not isinstance(
                result.exception, SystemExit | None
            ):
                wrong[" ".join([command, *more])] = result.exception
    assert wrong == {}


@pytest.mark.parametrize("window_s", WINDOWS_S)
def test_every_operation_on_a_tag_works(world: World, tags: dict[str, int], window_s: int) -> None:
    world.execute('UPDATE "user" SET removed_tag_expiration_s = %s', (window_s,))
    for name in ("most", "late", "beyond-dates"):
        assert registry.get_tag(world.repository_id, name) is not None
        registry.change_tag_expiration(world.repository_id, name, None)
        assert registry.delete_tag(world.repository_id, name) is not None
    events = world.rows("SELECT type FROM dredge_event ORDER BY id")
    assert len(events) == 6


@pytest.mark.parametrize("window_s", WINDOWS_S)
def test_the_trigger_records_each_of_them(world: World, tags: dict[str, int], window_s: int) -> None:
    world.execute('UPDATE "user" SET removed_tag_expiration_s = %s', (window_s,))
    install_triggers()
    for n, end_ms in enumerate((LEAST, 2**63 - 2, 2**62, -2), 1):
        world.execute("UPDATE tag SET lifetime_end_ms = %s WHERE id = %s", (end_ms, tags["alive"]))
        assert world.value("SELECT count(*) FROM dredge_event") == n
