"""A story: the initial rows and objects of a race, and its actors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.model.actor import Session
from bench.model.database import Database
from bench.model.operations import Program, Row
from bench.model.rules import PROTOCOL, Rules
from bench.model.run import Run
from bench.model.verdict import TABLES
from bench.model.world import World

Actors = Mapping[str, Callable[[Rules], Program]]


@dataclass(frozen=True)
class Story:
    """`rules`: the protocol's rules and the story's conditions.  `objects`: paths in the store at first."""

    name: str
    actors: Actors
    rows: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    rules: Rules = PROTOCOL

    def world(self) -> World:
        """Return the initial world."""
        return World(("identity", *self.objects))

    def tables(self) -> dict[str, tuple[Row, ...]]:
        """Return the initial rows."""
        return {**dict.fromkeys(TABLES, ()), "namespace": ({"id": 1, "window": 50},), **self.rows}

    def begin(self, rules: Rules, sessions: Any, world: World) -> Run:
        """Return a run with every actor at its first step."""
        run = Run(world, sessions)
        # A program that keeps a transaction open while it waits for storage must lift the server's limit.
        run.idle_limit = rules.leases
        for name, program in self.actors.items():
            run.start(name, program(rules))
        return run

    def run(self, rules: Rules) -> tuple[Run, Database]:
        """Return a run on the model's database, and that database."""
        database = Database(self.tables())
        return self.begin(rules, lambda: Session(database), self.world()), database
