"""Compare the collector with a row-by-row collector, and with the physical floor: plain deletes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.baseline import run_baseline
from bench.contest import Run, agree
from bench.count import counted, row_counts
from bench.figure import Figure, Options
from bench.floor import run_floor
from bench.lab import Lab, configured, isolated, peak_rss_mb
from bench.store import holding
from model.cache.open import open_cache
from model.policy import DEFAULT
from worker.jobs.context import JobContext
from worker.jobs.find import find_due
from worker.jobs.in_process import NoQueue
from worker.jobs.to_the_end import collect_many_to_the_end, erase_to_the_end, review_to_the_end
from worker.local.sample import SHAPES, Shape
from worker.local.sample.shape import registry
from worker.settings import Settings

NAME = "collect"
ROUNDS = 3


def context() -> JobContext:
    """Return the context of a process that runs all stages, without the time of an object store."""
    return JobContext(
        settings=Settings(quarantine_s=0),
        policy=DEFAULT,
        stores=holding(),
        cache=open_cache("none://"),
        queue=NoQueue(),
    )


def run_collector(url: str, keys: bool = True) -> Run:
    """Find, collect, review and erase until nothing is left, with checks of foreign keys or without."""
    tools = context()
    with configured(url, keys=keys):
        before = row_counts()
        base_mb = peak_rss_mb()
        with counted() as count:
            collect_all(tools)
        peak = peak_rss_mb()
        return Run.of(count, before, row_counts(), peak, peak - base_mb)


def collect_all(tools: JobContext) -> None:
    """Run the whole pipeline to its end."""
    position, done = 0, set()
    while True:
        due, position, _ = find_due(tools.policy, after=position, slice=20_000, limit=5_000)
        new = list(dict.fromkeys(found.repository_id for found in due if found.repository_id not in done))
        done.update(new)
        for _ in collect_many_to_the_end(tools, new):
            pass
        if not position:
            break
    for _ in review_to_the_end(tools):
        pass
    for _ in erase_to_the_end(tools):
        pass


def run(options: Options) -> Iterator[Figure]:
    """Yield rates, ratios, statements and memory on the ordinary registry and on one large repository."""
    shape = registry(options.manifests)
    with Lab() as lab:
        rounds = [compete(lab, shape) for _ in range(ROUNDS)]
        # The best of several rounds, in turns, because other work on the machine only makes a run slower.
        collector, floor, once = (best(runs) for runs in zip(*rounds, strict=True))
        yield from _figures(collector, floor, once)
        with lab.clone(shape) as url:
            baseline = isolated(run_baseline, url, options.seconds)
        yield from _against(baseline, collector)
        with lab.clone(SHAPES["tags"]) as url:
            yield from _large(isolated(run_collector, url))


def best(runs: Sequence[Run]) -> Run:
    """Return the shortest run, with the least processor time of all runs."""
    best = min(runs, key=lambda run: run.seconds)
    return replace(best, cpu_s=min(run.cpu_s for run in runs))


def compete(lab: Lab, shape: Shape) -> tuple[Run, Run, Run]:
    """Run the collector, the floor per repository, and the floor at once.  All leave the same rows."""
    with lab.clone(shape) as url:
        collector = isolated(run_collector, url)
    with lab.clone(shape) as url:
        floor = isolated(run_floor, url, True)
    with lab.clone(shape) as url:
        once = isolated(run_floor, url, False)
    agree("the collector", collector, "the floor", floor)
    agree("the floor", floor, "the floor in one transaction", once)
    return collector, floor, once


def _figures(collector: Run, floor: Run, once: Run) -> Iterator[Figure]:
    yield Figure(NAME, "manifests removed", collector.manifests, "manifests")
    yield Figure(NAME, "rows removed", collector.rows, "rows")
    yield Figure(NAME, "seconds", collector.seconds, "s")
    yield Figure(NAME, "manifests per second", collector.manifests_per_s, "manifests/s")
    yield Figure(NAME, "rows per second", collector.rows / collector.seconds, "rows/s")
    statements = collector.statements / max(collector.manifests, 1)
    yield Figure(NAME, "statements per manifest", statements, "statements", "at most 1")
    yield Figure(NAME, "longest transaction", collector.longest_s, "s", "under 1")
    yield Figure(NAME, "peak memory", collector.rss_mb, "MB")
    yield Figure(NAME, "memory growth", collector.rss_growth_mb, "MB", "flat")
    yield Figure(NAME, "floor per repository", floor.seconds, "s")
    yield Figure(NAME, "floor in one transaction", once.seconds, "s")
    yield from against_floor(NAME, collector, floor, "at most 1.25")
    yield Figure(NAME, "time against floor in one transaction", collector.seconds / once.seconds, "times")


def against_floor(name: str, collector: Run, floor: Run, target: str) -> Iterator[Figure]:
    """Yield the ratios of time and, where it was measured, processor time to the floor per repository."""
    ratio = collector.seconds / floor.seconds
    yield Figure(name, "time against floor per repository", ratio, "times", target)
    if floor.cpu_s:
        ratio = collector.cpu_s / floor.cpu_s
        yield Figure(name, "processor time against floor per repository", ratio, "times", target)


def _against(baseline: Run, collector: Run) -> Iterator[Figure]:
    yield Figure(NAME, "row by row: manifests per second", baseline.manifests_per_s, "manifests/s")
    per_manifest = baseline.statements / max(baseline.manifests, 1)
    yield Figure(NAME, "row by row: statements per manifest", per_manifest, "statements")
    ratio = collector.manifests_per_s / max(baseline.manifests_per_s, 1e-9)
    yield Figure(NAME, "rate against row by row", ratio, "times", "100")


def _large(run: Run) -> Iterator[Figure]:
    per_manifest = run.statements / max(run.manifests, 1)
    yield Figure(NAME, "20,000 tags: manifests per second", run.manifests_per_s, "manifests/s")
    yield Figure(NAME, "20,000 tags: statements per manifest", per_manifest, "statements", "at most 0.05")
    yield Figure(NAME, "20,000 tags: memory growth", run.rss_growth_mb, "MB", "flat")
