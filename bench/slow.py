"""Measure how long transactions last on a database ten times slower, before batches have shrunk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from bench.collect import run_collector
from bench.figure import Figure, Options
from bench.giant import giant
from bench.lab import Lab, isolated
from worker.local.servers.base import Server

NAME = "slow"
SLOWNESS = 10
_TURN_S = 0.005


def run(options: Options) -> Iterator[Figure]:
    """Collect one giant repository, on the normal server and on one that is stopped most of the time."""
    shape = giant(options.manifests)
    with Lab() as lab:
        with lab.clone(shape) as url:
            usual = isolated(run_collector, url)
        assert lab.servers.postgres is not None
        with lab.clone(shape) as url, slowed(lab.servers.postgres):
            slow = isolated(run_collector, url)
    yield Figure(NAME, "time against the usual", slow.seconds / usual.seconds, "times")
    yield Figure(NAME, "longest transaction", slow.longest_s, "s", "under about 1")
    yield Figure(NAME, "longest transaction on the server as it is", usual.longest_s, "s")
    yield Figure(NAME, "statements per manifest", slow.statements / max(slow.manifests, 1), "statements")


@contextmanager
def slowed(server: Server) -> Iterator[None]:
    """Run the server a tenth of the time, in turns of 5 ms, so that statements wait as for a slow disk."""
    ended = Event()

    def halt() -> None:
        while not ended.is_set():
            server.freeze()
            time.sleep(_TURN_S * (SLOWNESS - 1))
            server.thaw()
            time.sleep(_TURN_S)

    thread = Thread(target=halt)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
