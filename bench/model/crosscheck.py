"""Compare the model with PostgreSQL: run one schedule on both, step by step.

Half of the schedules are of the stories; the other half are of random programs, small transactions of every
statement that the model has.  A *divergence* is a step with another result, another waiting actor, another
error, or different rows at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.model.explorer import by_chance
from bench.model.operations import (
    COMMIT,
    ROLLBACK,
    Advisory,
    Delete,
    Insert,
    Lock,
    Operation,
    Program,
    Row,
    Select,
    Update,
)
from bench.model.postgres import Server
from bench.model.rules import Rules
from bench.model.run import Broken
from bench.model.stories import STORIES
from bench.model.story import Story
from bench.model.verdict import TABLES

ROWS: Mapping[str, tuple[Row, ...]] = {
    "manifest": ({"id": 1}, {"id": 2}),
    "blob": tuple({"id": n, "digest": d, "location": "a", "ready": True} for n, d in ((1, "x"), (2, "y"))),
    "manifestblob": ({"id": 1, "manifest": 1, "blob": 1},),
    "candidate": ({"id": 1, "blob": 1}, {"id": 2, "blob": 2}),
}
Log = list[tuple[str, str, Any]]
PROGRAMS = 3
LONGEST = 7
REPEATS = 6


@dataclass(frozen=True)
class Divergence:
    """A difference between the two; `seed` gives the same schedule again."""

    story: str
    seed: int
    what: str


def random_story(seed: int) -> Story:
    """Three programs of random statements on a few rows."""
    dice = random.Random(seed)
    scripts = []
    for number in range(PROGRAMS):
        updates = dice.random() < 0.5
        length = dice.randrange(2, LONGEST)
        scripts.append([_statement(dice, 100 * (number + 1) + k, updates) for k in range(length)])
    actors = {f"program {number}": partial(_scripted, script) for number, script in enumerate(scripts)}
    return Story(f"random programs {seed}", actors, ROWS)


def _scripted(script: list[Operation], rules: Rules) -> Program:
    # `yield from` would pass the results to the script.
    for statement in (*script, COMMIT):  # noqa: UP028
        yield statement


def _statement(dice: random.Random, number: int, updates: bool) -> Operation:
    """Return a random statement.  No program both updates blobs and locks them FOR UPDATE."""
    modes, deleted = (
        (3, ("candidate", "manifestblob")) if updates else (4, ("candidate", "manifestblob", "blob"))
    )
    table = dice.choice(("blob", "candidate", "manifest", "manifestblob"))
    key: dict[str, Any] = {"id": dice.choice((1, 2, (1, 2)))}
    one = {"id": dice.choice((1, 2))}
    kinds: tuple[Callable[[], Operation], ...] = (
        lambda: Select(table),
        lambda: Lock(table, key, dice.randrange(modes)),
        lambda: Lock(table, {}, dice.randrange(modes), True),
        lambda: Lock("blob", {"ready": dice.random() < 0.8}, dice.randrange(modes)),
        lambda: Update("blob", one, {"ready": dice.random() < 0.5}) if updates else Select("blob", one),
        lambda: Delete(dice.choice(deleted), one),
        lambda: Insert("manifestblob", {"id": number, "manifest": 1, "blob": dice.choice((1, 2))}),
        lambda: Insert("candidate", {"id": number, "blob": 1}),
        lambda: Advisory("x", dice.random() < 0.5),
        lambda: dice.choice((COMMIT, ROLLBACK)),
    )
    return dice.choice(kinds)()


def repeated(story: Story, server: Server, seed: int) -> Divergence | None:
    """Return a divergence only if every run on the server shows it.

    The server may wake two actors that wait for one updated row in either order; the model must match one of
    them.
    """
    found = None
    for _ in range(REPEATS):
        found = compare(story, server, seed)
        if found is None:
            return None
    return found


def compare(story: Story, server: Server, seed: int, given: tuple[int, ...] = ()) -> Divergence | None:
    """Draw a schedule in the model, beginning with the steps `given`, and run it on the server."""
    model, database = story.run(story.rules)
    model.log = []
    _play(model, given, by_chance(random.Random(seed)))
    choices = tuple(chosen for _, chosen in model.trace)
    server.load(story.tables())
    real = story.begin(story.rules, server.session, story.world())
    real.log = []
    _play(real, choices, lambda ready, last: ready[0])
    server.reuse()
    circles = [any(entry[2] == "Deadlock" for entry in run.log or ()) for run in (model, real)]
    if any(circles):
        # The model does not determine whose timer ends first, only that one must.
        return None if all(circles) else Divergence(story.name, seed, f"deadlock: {circles}")
    for name in [actor.name for actor in model.actors]:
        expected, found = ([entry for entry in run.log or () if entry[0] == name] for run in (model, real))
        if expected != found:
            step = next(
                (n for n, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]), -1
            )
            return Divergence(
                story.name, seed, f"step {step}: the model {expected[step]}, the server {found[step]}"
            )
    for table in TABLES:
        if (ours := sorted(database.rows(table), key=lambda r: int(r["id"]))) != (
            theirs := server.rows(table)
        ):
            return Divergence(story.name, seed, f"{table}: the model {ours}, the server {theirs}")
    return None


def _play(run: Any, choices: tuple[int, ...], pick: Any) -> None:
    try:
        run.play(choices, pick)
    except Broken as error:
        run.log.append(("run", "broken", str(error)))
        for actor in run.actors:
            if not actor.ended:
                actor.fail(error)


def cross_check(server: Server, *, schedules: int, seed: int) -> list[Divergence]:
    """Compare this number of schedules: half of random programs, half of the stories."""
    found = []
    for number in range(schedules):
        drawn = seed * 1_000_000 + number
        story = random_story(drawn) if number % 2 else STORIES[(number // 2) % len(STORIES)]
        if divergence := repeated(story, server, drawn):
            found.append(divergence)
    return found
