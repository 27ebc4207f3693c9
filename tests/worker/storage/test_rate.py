"""The request rate finds the limit of a store that does not tell it; the clock is simulated."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from worker.storage.rate import RequestRate

# An eraser claims this many objects for its requests.
BATCH = 1_000


@dataclass
class LimitedStore:
    """Admits `limit` objects a second, at most those of a quarter of a second at once; refuses others."""

    limit: float
    now: float = 0.0
    admitted: int = 0
    answers: list[bool] = field(default_factory=list)
    _free: float = 0.0
    _seen: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def admits(self, objects: int) -> bool:
        self._free = min(self.limit / 4, self._free + (self.now - self._seen) * self.limit)
        self._seen = self.now
        admitted = self._free >= objects
        if admitted:
            self._free -= objects
            self.admitted += objects
        self.answers.append(admitted)
        return admitted

    def be_sent_to(self, requests: RequestRate, seconds: float) -> tuple[float, float]:
        """Let an eraser send requests.  Returns the admitted share of the limit and the refused share."""
        self.admitted, self.answers, started = 0, [], self.now
        while self.now < started + seconds:
            size = requests.chunk(BATCH)
            for _ in range(0, BATCH, size):
                requests.wait(size)
                self.now += 0.001
                requests.faster() if self.admits(size) else requests.slower()
        elapsed = self.now - started
        return self.admitted / (self.limit * elapsed), self.answers.count(False) / len(self.answers)


@pytest.mark.parametrize("limit", [500, 1_000, 3_500, 9_000])
@pytest.mark.parametrize("factor", [1.0, 0.3, 0.5, 0.8, 1.5, 2.0])
def test_the_pace_settles_below_a_limit_that_changes_and_hardly_any_request_is_refused(
    limit: float, factor: float
) -> None:
    store = LimitedStore(limit)
    requests = RequestRate(clock=lambda: store.now, sleep=store.sleep)
    store.be_sent_to(requests, 30)
    reached, refused = store.be_sent_to(requests, 120)
    assert reached >= 0.9
    assert refused <= 0.01
    store.limit *= factor
    store.be_sent_to(requests, 30)
    reached, refused = store.be_sent_to(requests, 120)
    assert reached >= 0.9
    assert refused <= 0.01


def test_a_store_without_a_limit_gets_full_requests() -> None:
    store = LimitedStore(10**9, _free=10**9)
    requests = RequestRate(clock=lambda: store.now, sleep=store.sleep)
    assert requests.chunk(BATCH) == BATCH
    requests.wait(500)
    requests.wait(500)
    assert store.now == 0.025


def test_many_refusals_in_a_second_count_once_and_the_rate_has_a_floor() -> None:
    now = [0.0]
    requests = RequestRate(ceiling=1000, floor=10, clock=lambda: now[0], sleep=lambda _: None)
    for _ in range(3):
        requests.slower()
    assert requests.rate == 500
    for _ in range(20):
        now[0] += 1.5
        requests.slower()
    assert requests.rate == 10
    now[0] += 600
    requests.faster()
    assert requests.rate < 20, "an idle time does not raise the rate"
