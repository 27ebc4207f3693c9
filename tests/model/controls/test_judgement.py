"""The breaker's rule, on a thousand weeks of ordinary life with fifty disasters in them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.controls.judgement import (
    AHEAD_MS,
    HOUR_MS,
    LEAST_VALID_MS,
    MOST_VALID_MS,
    Facts,
    Limits,
    judge,
    valid_for_ms,
    worst_hour,
)

MINUTE_MS = 60_000
WEEK_MS = 7 * 24 * HOUR_MS
LIMITS = Limits()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 9)), max_size=30))
def test_the_worst_hour_is_that_of_a_brute_force(minutes: list[tuple[int, int]]) -> None:
    moments = [(minute * MINUTE_MS, count) for minute, count in minutes]
    ends = {at for at, _ in moments}
    wanted = max((sum(n for at, n in moments if end - HOUR_MS < at <= end) for end in ends), default=0)
    assert worst_hour(moments) == wanted


def test_a_small_number_or_a_small_share_opens_nothing() -> None:
    assert not judge(Facts([(0, 999)], manifests=1_000), LIMITS)
    assert not judge(Facts([(0, 1_000)], manifests=4_000), LIMITS)
    assert "1,001 of 4,000" in judge(Facts([(0, 1_001)], manifests=4_000), LIMITS)
    assert not judge(Facts([(0, 900), (HOUR_MS, 900)], manifests=2_000), LIMITS)


def test_a_shortened_window_opens_where_it_makes_much_due_or_rules_most_of_the_registry() -> None:
    assert "shortened: 1,500 of 4,000" in judge(Facts(manifests=4_000, shortened=1_500), LIMITS)
    big = Facts(manifests=9_000, registry_manifests=10_000, shortened=0)
    assert "on 9,000 of the registry's 10,000" in judge(big, LIMITS)
    assert not judge(Facts(manifests=2_000, registry_manifests=10_000, shortened=10), LIMITS)


def test_a_check_takes_at_most_a_hundredth_of_the_time_and_ends_before_what_it_saw() -> None:
    assert (valid_for_ms(0), valid_for_ms(10_000)) == (LEAST_VALID_MS, 1_000_000)
    assert valid_for_ms(10**6) == MOST_VALID_MS <= AHEAD_MS - HOUR_MS


@dataclass
class Namespace:
    """A namespace whose manifests become due in minutes that are known beforehand, as ended tags are."""

    manifests: int = 20_000
    due: dict[int, int] = field(default_factory=dict)
    disasters: list[int] = field(default_factory=list)

    def burst(self, random: random.Random, at_ms: int, count: int, minutes: int) -> None:
        for _ in range(minutes):
            minute = at_ms + random.randrange(minutes) * MINUTE_MS
            self.due[minute] = self.due.get(minute, 0) + count // minutes

    def week(self, random: random.Random, start_ms: int) -> None:
        """Ordinary life: single deletions, a nightly clean-up, a weekly one, at times a project that ends."""
        for _ in range(300):
            self.burst(random, start_ms + random.randrange(WEEK_MS), 1, 1)
        for day in range(7):
            self.burst(random, start_ms + (24 * day + 2) * HOUR_MS, random.randrange(50, 400), 10)
        self.burst(random, start_ms + random.randrange(WEEK_MS), int(self.manifests * 0.05), 10)
        if random.random() < 0.25:
            self.burst(random, start_ms + random.randrange(WEEK_MS), int(self.manifests * 0.10), 20)

    def disaster(self, random: random.Random, start_ms: int) -> None:
        """A wrong policy or script ends 35 to 100 % of all within less than an hour."""
        at_ms = start_ms + random.randrange(WEEK_MS - HOUR_MS)
        share = random.uniform(0.35, 1.0)
        self.burst(random, at_ms, int(self.manifests * share), random.randrange(1, 55))
        self.disasters.append(at_ms)


def live(namespace: Namespace, random: random.Random) -> list[int]:
    """Collect from check to check; the times at which the breaker opened.  What it holds is put right."""
    opened: list[int] = []
    minutes = sorted(namespace.due)
    # A check may be as old as it ever gets when a burst begins.
    now_ms, first = 0, 0
    while first < len(minutes):
        now_ms = max(now_ms + random.choice([LEAST_VALID_MS, MOST_VALID_MS]), minutes[first] - MOST_VALID_MS)
        while first < len(minutes) and minutes[first] <= now_ms - HOUR_MS:
            first += 1
        seen = [m for m in minutes[first : first + 400] if m <= now_ms + AHEAD_MS]
        if judge(Facts([(m, namespace.due[m]) for m in seen], manifests=namespace.manifests), LIMITS):
            opened.append(now_ms)
            first += len(seen)
    return opened


@pytest.mark.parametrize(("weeks", "disasters"), [(100, 5), pytest.param(1_000, 50, marks=pytest.mark.slow)])
def test_each_of_some_disasters_in_many_weeks_is_stopped_before_its_first_row(
    weeks: int, disasters: int
) -> None:
    """What is not a disaster stops the collection at most once a year."""
    chance = random.Random(20_261_127)
    namespace = Namespace()
    bad = set(chance.sample(range(1, weeks), disasters))
    for week in range(weeks):
        namespace.week(chance, week * WEEK_MS)
        if week in bad:
            namespace.disaster(chance, week * WEEK_MS)
    opened = live(namespace, chance)
    stopped = [
        disaster for disaster in namespace.disasters if any(-AHEAD_MS <= at - disaster <= 0 for at in opened)
    ]
    false = [at for at in opened if not any(-AHEAD_MS <= at - d <= HOUR_MS for d in namespace.disasters)]
    assert len(stopped) == disasters
    assert len(false) <= weeks / 52
