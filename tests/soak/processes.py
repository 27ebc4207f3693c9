"""The processes of a soak: servers, workers, actors, and who ill-treats them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

from tests.soak.actor import Actor
from tests.support.servers.standby import Pair
from worker.local.demo.processes import Processes
from worker.local.embedded import EmbeddedServers, Server

Span = tuple[float, float]

STOP_S = 30
START_S = 120
ROOT = Path(__file__).resolve().parents[2]


class Workers(Processes):
    """The lines of the Procfile, with their process ids."""

    def pid(self, name: str) -> int:
        """Of the main process, which leads a group of its own."""
        return self._running[name].pid

    def redefine(self, lines: Mapping[str, str]) -> None:
        """Other command lines, from the next start of each on."""
        self._lines = dict(lines)

    def __enter__(self) -> Workers:
        super().__enter__()
        return self


@dataclass
class Actors:
    """The actors' processes, by name: `push-1`, `delete-2` …"""

    roles: Mapping[str, int]
    repositories: Sequence[int]
    tags: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    seed: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    born: int = 0

    def __enter__(self) -> Actors:
        for role, count in self.roles.items():
            for _ in range(count):
                self.start(role)
        return self

    def start(self, role: str) -> None:
        """One more actor of a role, with a name that none had before."""
        self.born += 1
        name = f"{role}-{self.born}"
        plan = {
            "role": role,
            "name": name,
            "seed": self.seed,
            "directory": str(self.directory),
            "repositories": list(self.repositories),
            "tags": list(self.tags),
        }
        with (self.directory / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", Actor.__module__, json.dumps(plan)],
                cwd=ROOT,
                env=dict(self.environment),
                stdout=log,
                stderr=log,
            )

    def await_first_operations(self) -> None:
        """Wait until every one of them has begun: the soak's time is theirs, and not that of their start."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and len(list(self.directory.glob("*.journal"))) < self.born:
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """`kill -9` one, wherever it is, and start another in its place."""
        process = self.running.pop(name)
        process.kill()
        process.wait()
        self.start(name.partition("-")[0])

    def stop(self) -> list[str]:
        """Let each end its operation; what those said that ended badly."""
        bad = [name for name, process in self.running.items() if process.poll() is not None]
        for process in self.running.values():
            process.terminate()
        for name, process in self.running.items():
            try:
                if process.wait(STOP_S) not in (0, -signal.SIGTERM) and name not in bad:
                    bad.append(name)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                bad.append(name)
        self.running.clear()
        return [f"{name}: {(self.directory / f'{name}.log').read_text()[-1500:]}" for name in bad]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass
class Chaos:
    """Faults by dice, one at a time; remembers each, and when the database was away."""

    dice: random.Random
    servers: EmbeddedServers
    database: Pair
    workers: Workers
    names: Sequence[str]
    actors: Actors
    outages: list[Span] = field(default_factory=list)
    faults: list[tuple[str, Span]] = field(default_factory=list)

    def run(self, seconds: float, pause_s: float) -> None:
        """One fault after the other until the time is over, and each at least once."""
        deadline = time.monotonic() + seconds
        things = self.things()
        bag = self.dice.sample(sorted(things), len(things))
        first = True
        while first or time.monotonic() < deadline:
            time.sleep(self.dice.uniform(0.5, 1.5) * pause_s)
            name, begin = bag.pop(), time.time()
            things[name]()
            self.faults.append((name, (begin, time.time())))
            self._supervise()
            if not bag:  # each of them once before any comes again
                bag, first = self.dice.sample(sorted(things), len(things)), False

    @property
    def done(self) -> Counter[str]:
        """How often each fault was there."""
        return Counter(name for name, _ in self.faults)

    def _supervise(self) -> None:
        """A child that is killed while the pool starts takes its worker along: Celery's way.

        Whoever runs a worker starts it again; a worker that ends for any other reason is a fault.
        """
        name = self.workers.ended()
        if name and "Could not start worker processes" in self.workers.tail(name):
            self.workers.start(name)
            self.faults.append(("worker ended at its start, and started again", (time.time(), time.time())))

    def things(self) -> dict[str, Callable[[], None]]:
        """What may happen, by name."""
        return {
            "worker killed": partial(self.kill_worker, "worker"),
            "beat killed": partial(self.kill_worker, "beat"),
            "worker's child killed": self.kill_child,
            "client killed": lambda: self.actors.kill(self.dice.choice(sorted(self.actors.running))),
            "broker restarted": self._valkey(Server.restart),
            "broker killed": self._valkey(self._crash),
            "broker frozen": self._valkey(self._freeze),
            "database restarted": self._postgres(Server.restart),
            "database killed": self._postgres(self._crash),
            "database frozen": self._postgres(self._freeze),
            "standby promoted": self.fail_over,
        }

    def kill_worker(self, kind: str) -> None:
        """`kill -9` a worker with all of its children, or the beat, and start it again."""
        name = self.dice.choice([name for name in self.names if name.startswith(kind)])
        self.workers.kill(name)
        self.workers.start(name)

    def kill_child(self) -> None:
        """`kill -9` one child of a worker's pool."""
        parent = self.workers.pid(self.dice.choice([name for name in self.names if name != "beat"]))
        with suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if children:
                os.kill(int(self.dice.choice(children)), signal.SIGKILL)

    def _freeze(self, server: Server) -> None:
        server.freeze()
        time.sleep(1)
        server.thaw()

    def _crash(self, server: Server) -> None:
        server.kill()
        server.start()

    def _valkey(self, what: Callable[[Server], None]) -> Callable[[], None]:
        assert self.servers.valkey is not None
        return partial(what, self.servers.valkey)

    def _postgres(self, what: Callable[[Server], None]) -> Callable[[], None]:
        def noted() -> None:
            begin = time.time()
            what(self.database.primary)
            self.outages.append((begin, time.time()))

        return noted

    def fail_over(self) -> None:
        """The primary dies, and a standby that has every commit takes its place at another port."""
        self.servers.postgres, *outage = self.database.fail_over()
        self.outages.append((outage[0], outage[1]))
