"""Random lives of tags against the model of a tag's life; planted bugs are found within the same bounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from model.gc import tags as gc_tags
from model.gc.manifests import judge
from model.registry import limits, operation, tags, time_machine
from model.retention import rule as retention_rule
from model.tag import history, lifetime
from model.tag.rows import find_alive
from tests.model.registry.tag_machine import ClockedDatabase, TagMachine
from tests.support.depths import IN_CI, depths
from tests.support.explorer_steps import hooked
from tests.support.world import World

# CI's lives are always the same ones, and these many meet every planted bug.
DEEP = int(os.environ.get("EXAMPLES") or ("40" if IN_CI else "60"))
QUICK, STEPS = 10, 25


@pytest.fixture
def clocked(world: World) -> Iterator[ClockedDatabase]:
    made = ClockedDatabase(world)
    with hooked(made.standing_still):
        yield made
    made.close()


def live(clocked: ClockedDatabase, examples: int, *, shrink: bool = True) -> None:
    """Run so many lives, or fewer until one is wrong."""

    class Machine(TagMachine):
        pass

    Machine.clocked = clocked
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=IN_CI or not shrink,
            print_blob=True,
        ),
    )


@pytest.mark.parametrize("examples", depths(QUICK, DEEP))
def test_the_facade_does_what_a_tags_life_is(clocked: ClockedDatabase, examples: int) -> None:
    live(clocked, examples)


@dataclass(frozen=True)
class Mutant:
    """What is wrong, in which place, and what makes the wrong thing of the right one."""

    wrong: str
    place: Any
    name: str
    instead: Callable[[Any], Any]

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Change the program."""
        monkeypatch.setattr(self.place, self.name, self.instead(getattr(self.place, self.name)))


def part(old: str, new: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert text.count(old) == 1, f"{old!r} is not there once: mend this table"
        return text.replace(old, new)

    return changed


def given(value: Any) -> Callable[[Any], Any]:
    return lambda real: lambda *arguments, **options: value


_WITH_TAG = "EXISTS (SELECT FROM tag t WHERE t.manifest_id = m.id"

MUTANTS = (
    Mutant("a restore ignores the window", history, "_RECOVERABLE",
           part(" AND t.lifetime_end_ms > %(now_ms)s - %(window_ms)s", " AND %(window_ms)s IS NOT NULL")),
    Mutant("a restore succeeds at the instant the window closes", history, "_RECOVERABLE",
           part("> %(now_ms)s - %(window_ms)s", ">= %(now_ms)s - %(window_ms)s")),
    Mutant("a restore goes beyond the window where nothing is within it", time_machine, "find_recoverable",
           lambda real: lambda where, name, digest, **options: real(where, name, digest, **options)
           or tuple(tag for tag in real(where, name, digest, **(options | {"window_ms": 10**13})))),
    Mutant("a restored tag is not marked as a reversion", time_machine, "move_name",
           lambda real: lambda *arguments, **options: real(*arguments)),
    Mutant("a move keeps the old tag alive", tags, "displace_tags", given(())),
    Mutant("a collection takes a manifest that a deleted tag can bring back", judge, "_READ",
           part(_WITH_TAG, f"{_WITH_TAG} AND t.lifetime_end_ms IS NULL")),
    Mutant("a collection takes a tag one millisecond early", gc_tags, "_EXPIRE",
           part("t.lifetime_end_ms <= %(now_ms)s - scope.window_ms",
                "t.lifetime_end_ms <= %(now_ms)s - scope.window_ms + 1")),
    Mutant("a collection leaves a tag one millisecond longer", gc_tags, "_EXPIRE",
           part("t.lifetime_end_ms <= %(now_ms)s - scope.window_ms",
                "t.lifetime_end_ms < %(now_ms)s - scope.window_ms")),
    Mutant("the history shows what nobody can restore", history, "_OF_REPOSITORY",
           part("t.lifetime_end_ms > %(lost_ms)s", "t.lifetime_end_ms > %(lost_ms)s - 86400000")),
    Mutant("deleting for good leaves the tag restorable", operation.Operation, "unrecoverable_ms",
           lambda real: property(lambda self: self.now_ms - self.repository.window_ms + 1)),
    Mutant("deleting for good takes every manifest of the name", time_machine, "_matching",
           lambda real: lambda where, name, digest, is_alive: find_alive(
               where.repository.id, name, now_ms=where.now_ms, lock=True) if is_alive
           else real(where, name, digest, is_alive)),
    Mutant("immutable tags are moved and deleted", operation.Operation, "refuse_immutable", given(None)),
    Mutant("an expiry has no bounds", limits, "clamp_end", lambda real: lambda start_ms, end_ms: end_ms),
    Mutant("two rows of a name may want one millisecond", lifetime, "assign_ends",
           lambda real: lambda names, wanted_ms, taken: [wanted_ms for _ in names]),
    Mutant("retention ends a tag at its age, not after it", retention_rule, "_is_older",
           lambda real: lambda since_ms, age_ms, now_ms: now_ms - since_ms >= age_ms),
    Mutant("an expired tag counts as alive", tags, "find_alive",
           lambda real: lambda where, name, *, now_ms, lock: real(where, name, now_ms=now_ms - 1, lock=lock)),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.wrong) for m in MUTANTS])
def test_a_planted_bug_is_found(
    clocked: ClockedDatabase, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant.plant(monkeypatch)
    with pytest.raises(AssertionError):
        live(clocked, DEEP, shrink=False)
