"""Plan retention rules, and run them: the plan takes at most 5 % of the run's time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.collect import context
from bench.count import Count, counted
from bench.figure import Figure, Options
from bench.giant import TAGS_PER_MANIFEST, giant
from bench.lab import Lab, configured, isolated, peak_rss_mb
from model.policy import DEFAULT
from model.retention.file import parse_policy_file
from model.retention.find import find_ids
from model.retention.plan import plan_retention
from model.retention.policies import RetentionPolicy
from worker.jobs.plan_policy import sum_up
from worker.jobs.retain import retain_repository
from worker.local.sample import Shape

NAME = "retention"
MANIFESTS_PER_REPOSITORY = 40

RULES = """
rules:
  - {name: keep releases, action: keep, tags: v*.0, newest_version: 3}
  - {name: old, action: expire, tags: v*, newest: 2}
"""


@dataclass(frozen=True)
class Planned:
    """The totals of a plan of the whole registry, and the time that it took."""

    seconds: float
    cpu_s: float
    tags: int
    manifests: int
    rss_growth_mb: float


def shape(manifests: int) -> Shape:
    """Return a registry of this many manifests, with five times as many tags, all of them alive."""
    repositories = max(1, manifests // MANIFESTS_PER_REPOSITORY)
    return replace(giant(manifests), repositories=repositories, expired=0.0)


def run(options: Options) -> Iterator[Figure]:
    """Yield the time of the plan and the rate of the run; `--manifests 200000` gives a million tags."""
    with Lab() as lab, lab.clone(shape(options.manifests)) as url:
        planned = isolated(run_plan, url)
        ended, count = isolated(run_rules, url, options.seconds)
    part = ended / planned.tags
    yield Figure(NAME, "tags", options.manifests * TAGS_PER_MANIFEST, "tags")
    yield Figure(NAME, "tags that the rules end", planned.tags, "tags")
    yield Figure(NAME, "manifests that this frees", planned.manifests, "manifests")
    yield Figure(NAME, "plan", planned.seconds, "s")
    yield Figure(NAME, "memory growth of the plan", planned.rss_growth_mb, "MB")
    yield Figure(NAME, "run: tags ended in the measured part", ended, "tags")
    yield Figure(NAME, "run: tags ended per second", ended / count.seconds, "tags/s")
    yield Figure(NAME, "run: all of them at that rate", count.seconds / part, "s")
    percent = 100 * planned.seconds / (count.seconds / part)
    yield Figure(NAME, "time of the plan against the run", percent, "percent", "at most 5")
    if count.cpu_s:
        percent = 100 * planned.cpu_s / (count.cpu_s / part)
        yield Figure(NAME, "processor time of the plan against the run", percent, "percent", "at most 5")
    yield Figure(NAME, "longest transaction of the run", count.longest_s, "s", "under 1")


def _policy() -> RetentionPolicy:
    return RetentionPolicy(rules=parse_policy_file(RULES))


def run_plan(url: str) -> Planned:
    """Plan every repository, as `dredge plan --policy FILE` does."""
    with configured(url):
        base_mb = peak_rss_mb()
        retention = _policy()
        with counted() as count:
            sums = sum_up(list(plan_retention(_ids(), policy=DEFAULT, retention=retention)))
        growth_mb = peak_rss_mb() - base_mb
        return Planned(count.seconds, count.cpu_s, sums.tags, sums.manifests, growth_mb)


def run_rules(url: str, budget_s: float) -> tuple[int, Count]:
    """Run the rules on repository after repository until the time is used up.  Returns the ended tags."""
    tools, retention, ended = context(), _policy(), 0
    with configured(url), counted() as count:
        started = time.perf_counter()
        for repository_id in _ids():
            more = True
            while more:
                turn = retain_repository(tools, repository_id, budget_s=5.0, policy=retention)
                ended, more = ended + turn.ended, turn.has_more
            if time.perf_counter() - started > budget_s:
                break
    return ended, count


def _ids() -> list[int]:
    return find_ids(after=0, limit=10**9)
