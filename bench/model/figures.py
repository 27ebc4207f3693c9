"""`python -m bench model`: schedules per second, planted bugs found, and the comparison with PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figure import Figure, Options
from bench.model.bugs import BUGS
from bench.model.crosscheck import cross_check
from bench.model.explorer import Failed, explore
from bench.model.postgres import Server
from bench.model.stories import STORIES
from worker.local.embedded import EmbeddedServers

NAME = "model"
ROUND = 500
BUG_LIMIT = 20_000


def run(options: Options) -> Iterator[Figure]:
    """Explore every story for an equal part of the time, plant every bug, and compare with a real server."""
    schedules = rounds = 0
    started, used = time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - started) < options.seconds or not rounds:
        for story in STORIES:
            done = explore(story, limit=ROUND, seed=options.seed + rounds)
            if done.failure:
                raise Failed(f"{story.name}: {done.failure}", done.schedule)
            schedules += done.schedules
        rounds += 1
    spent, used = time.perf_counter() - started, time.process_time() - used
    yield Figure(NAME, "schedules", schedules, "schedules")
    yield Figure(NAME, "schedules per second", schedules / spent, "1/s", "at least 1000")
    yield Figure(NAME, "schedules per processor second", schedules / used, "1/s")
    found = [explore(bug.planted(), limit=BUG_LIMIT, seed=options.seed) for bug in BUGS]
    yield Figure(NAME, "planted bugs", len(BUGS), "bugs")
    yield Figure(NAME, "planted bugs found", sum(bool(each.failure) for each in found), "bugs", "all")
    yield Figure(NAME, "schedules until found, at most", max(each.schedules for each in found), "schedules")
    compared = max(200, int(options.seconds * 60))
    with EmbeddedServers(valkey=False, storage=False) as servers:
        server = Server(servers.database_url)
        divergences = cross_check(server, schedules=compared, seed=options.seed)
        server.close()
    yield Figure(NAME, "schedules compared with PostgreSQL", compared, "schedules")
    yield Figure(NAME, "divergences", len(divergences), "schedules", "0")
