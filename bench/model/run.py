"""Run one schedule: programs take turns, one operation at a time.

The next operation of a program is its pending operation; `Run.advance` carries it out.  A statement that
waits for a lock blocks its program, which continues by itself when the lock is free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.model.actor import Actor, Session
from bench.model.operations import Deadlock, Do, End, ForeignKey, Program, Refused, Sleep, Statement
from bench.model.world import World

SERVER_LOOKS = 10
Pick = Callable[[list[int], int], int]


class Broken(AssertionError):
    """An invariant does not hold, or a promise was not kept."""


class Run:
    """Actors on one world; `sessions` makes their connections."""

    def __init__(self, world: World, sessions: Any) -> None:
        self.world, self.sessions = world, sessions
        self.idle_limit = True
        self.actors: list[Actor] = []
        self.waiting: list[Actor] = []
        self.trace: list[tuple[list[int], int]] = []
        self.log: list[tuple[str, str, Any]] | None = None

    def start(self, name: str, program: Program) -> None:
        """Add an actor, at its first operation."""
        self.actors.append(Actor(name, program, self.sessions()))

    def ready(self) -> list[int]:
        """Return the numbers of the actors that can go on now."""
        world, found = self.world, []
        for number, actor in enumerate(self.actors):
            operation = actor.pending
            if operation is None or actor.blocked or (world.frozen and actor.name in world.frozen):
                continue
            if operation.__class__ is Sleep:
                if operation.until > world.now:
                    continue
            elif operation.__class__ is Do:
                assert isinstance(operation, Do)
                if operation.ready is not None and not operation.ready(world, *operation.arguments):
                    continue
            found.append(number)
        return found

    def advance(self, number: int) -> None:
        """Carry out the pending operation of one actor, then those of the actors that it unblocked."""
        actor = self.actors[number]
        operation = actor.pending
        assert operation is not None
        kind = operation.__class__
        if kind is Do:
            assert isinstance(operation, Do)
            result = operation.what(self.world, *operation.arguments)
            self._note(actor, result)
            actor.take(result)
            self._consequences()
        elif kind is Sleep:
            actor.take(None)
        else:
            assert not isinstance(operation, Do | Sleep)
            self._attempt(actor, operation)
            if kind is End:
                self._wake()
        if actor.ended:
            self._wake()

    def _attempt(self, actor: Actor, statement: Statement | None) -> bool:
        """Execute a statement, or try the waiting one again.  Returns whether it has ended."""
        try:
            if statement is None:
                done, result = actor.session.go_on()
            else:
                done, result = actor.session.execute(statement)
        except (ForeignKey, Deadlock) as error:
            self._note(actor, type(error).__name__)
            actor.fail(error)
            return True
        if done:
            actor.blocked = False
            self._note(actor, result)
            actor.take(result)
            return True
        if self._deadlocked(actor):
            self._note(actor, "Deadlock")
            actor.fail(Deadlock())
            return True
        if not actor.blocked:
            actor.blocked = True
            self.waiting.append(actor)
            self._note(actor, "waits")
        return False

    def _deadlocked(self, actor: Actor) -> bool:
        if not isinstance(actor.session, Session):
            return False
        waiting = (*self.waiting, actor)
        owners = {a.session.transaction: a for a in waiting if isinstance(a.session, Session)}
        seen: set[str] = set()
        front = [actor]
        while front:
            session = front.pop().session
            assert isinstance(session, Session)
            # A row's holders are waited for one after the other.
            for transaction in session.waits_for[:1]:
                other = owners.get(transaction)
                if other is actor:
                    return True
                if other is not None and other.name not in seen:
                    seen.add(other.name)
                    front.append(other)
        return False

    def _wake(self) -> None:
        """Let waiting actors go on, in the order in which they began to wait."""
        again = bool(self.waiting)
        while again:
            again = False
            for actor in list(self.waiting):
                if self._attempt(actor, None):
                    self.waiting.remove(actor)
                    again = again or actor.ended

    def _consequences(self) -> None:
        world = self.world
        while world.spawn:
            self.start(*world.spawn.pop(0))
        while world.killed:
            name = world.killed.pop()
            for actor in self.actors:
                if actor.name == name and not actor.ended:
                    actor.fail(Refused("killed"))
                    if actor in self.waiting:
                        self.waiting.remove(actor)
                    self._wake()
            # Requests that the killed process has not sent are never sent.
            for key in [key for key in world.holds if isinstance(key, tuple)]:
                del world.holds[key]

    def stuck(self) -> None:
        """Let time pass for sleeping actors, then wake frozen ones, when no actor can go on."""
        world = self.world
        if self._server_answers():
            return
        asleep = [a.pending.until for a in self.actors if isinstance(a.pending, Sleep)]
        if asleep and world.may_pass(min(asleep)):
            world.pass_to(min(asleep))
        elif world.frozen:
            if self.idle_limit:
                self._end_idle_sessions()
            if forever := [a.name for a in self.waiting if a.name not in world.frozen]:
                raise Broken(f"{forever} wait for a frozen process")
            world.frozen.clear()
        else:
            raise Broken(f"nobody can go on: {[(a.name, a.pending) for a in self.actors if not a.ended]}")

    def _server_answers(self) -> bool:
        """Wait until a real server finds a deadlock."""
        waiting = [actor for actor in self.waiting if not isinstance(actor.session, Session)]
        for _ in range(SERVER_LOOKS if waiting else 0):
            self._wake()
            if not all(actor.blocked for actor in waiting):
                return True
            time.sleep(0.002)
        return False

    def _end_idle_sessions(self) -> None:
        """End open and idle transactions, as the server does.  Their processes notice it later."""
        for actor in self.actors:
            if actor.name in self.world.frozen and not actor.ended and actor.session.open:
                actor.fail(Refused("idle in transaction"))
        self._wake()

    def play(self, choices: Sequence[int], pick: Pick) -> None:
        """Run to the end.  Steps follow `choices`, then `pick`; `trace` gets (ready, chosen) of each step."""
        trace = self.trace
        given = iter(choices)
        last = 0
        while True:
            ready = self.ready()
            if not ready:
                if all(actor.ended for actor in self.actors):
                    return
                self.stuck()
                continue
            wanted = next(given, -1)
            last = wanted if wanted in ready else pick(ready, last)
            trace.append((ready, last))
            self.advance(last)

    def _note(self, actor: Actor, result: Any) -> None:
        if self.log is not None:
            what = "Do" if isinstance(actor.pending, Do) else repr(actor.pending)
            self.log.append((actor.name, what, result))
