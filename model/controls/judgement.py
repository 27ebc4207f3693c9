"""The breaker's rule: is what becomes due too much?  No clock, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# Looked ahead: a whole hour's burst that begins before the next check is seen by this one.
AHEAD_MS = 2 * HOUR_MS
# A check is valid for so long at least and at most; a slow one for longer, so that checks take at
# most 1 % of the time.
LEAST_VALID_MS = 5 * 60_000
MOST_VALID_MS = 30 * 60_000


@dataclass(frozen=True)
class Limits:
    """`share` in percent of the manifests, and how many it must be at least."""

    share: float = 25.0
    manifests: int = 1_000

    def exceeded(self, due: int, of: int) -> bool:
        """Return whether it is more than the share, and no small number."""
        return due >= self.manifests and due * 100 > self.share * of


@dataclass(frozen=True)
class Facts:
    """What becomes due somewhere: (minute in ms, manifests) of what is due or was collected.

    `shortened` is how many are due only because the recovery window was shortened, None where it was
    not; `manifests` are those of the namespace (or registry), with those collected within the hour.
    """

    moments: Sequence[tuple[int, int]] = ()
    manifests: int = 0
    registry_manifests: int = 0
    shortened: int | None = None


def worst_hour(moments: Sequence[tuple[int, int]]) -> int:
    """The most manifests that become due within any hour."""
    ordered = sorted(moments)
    worst = within = first = 0
    for at_ms, manifests in ordered:
        within += manifests
        while ordered[first][0] <= at_ms - HOUR_MS:
            within -= ordered[first][1]
            first += 1
        worst = max(worst, within)
    return worst


def judge(facts: Facts, limits: Limits) -> str:
    """Why the breaker must open, in words; empty where it need not."""
    due = worst_hour(facts.moments)
    if limits.exceeded(due, facts.manifests):
        return f"{due:,} of {facts.manifests:,} manifests become due within an hour"
    if facts.shortened is None:
        return ""
    if limits.exceeded(facts.shortened, facts.manifests):
        return (
            f"the recovery window was shortened: {facts.shortened:,} of {facts.manifests:,} manifests are due"
        )
    if limits.exceeded(facts.manifests, facts.registry_manifests):
        return (
            f"the recovery window was shortened on {facts.manifests:,} of the registry's"
            f" {facts.registry_manifests:,} manifests"
        )
    return ""


def valid_for_ms(took_ms: int) -> int:
    """Return how long a check that took so long is valid."""
    return min(MOST_VALID_MS, max(LEAST_VALID_MS, 100 * took_ms))
