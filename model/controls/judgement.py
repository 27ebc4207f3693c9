"""The breaker's rule: does too much become due?  A pure function without clock and database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# How far a check looks ahead: it must see a whole hour that begins before the next check.
AHEAD_MS = 2 * HOUR_MS
# Bounds of the time for which a check is valid.  A slow check is valid for longer, so that checks take at
# most 1 % of the time.
LEAST_VALID_MS = 5 * 60_000
MOST_VALID_MS = 30 * 60_000


@dataclass(frozen=True)
class Limits:
    """`share` in percent of the manifests, and how many it must be at least."""

    share: float = 25.0
    manifests: int = 1_000

    def exceeded(self, due: int, of: int) -> bool:
        """Return whether `due` is more than the share, and not a small number."""
        return due >= self.manifests and due * 100 > self.share * of


@dataclass(frozen=True)
class Facts:
    """What becomes due in a namespace or the registry: (minute in ms, manifests) due or collected.

    `shortened` is how many are due only because the recovery window was shortened; None if it was not.
    `manifests` counts those of the namespace (or registry), and those removed within the hour.  `purged` is
    how many of the moments' manifests are of deleted repositories.
    """

    moments: Sequence[tuple[int, int]] = ()
    manifests: int = 0
    registry_manifests: int = 0
    shortened: int | None = None
    purged: int = 0


def worst_hour(moments: Sequence[tuple[int, int]]) -> int:
    """Return the largest number of manifests that become due within one hour."""
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
    """Say in words why the breaker must open; empty if it need not."""
    due = worst_hour(facts.moments)
    if limits.exceeded(due, facts.manifests):
        purged = f" ({facts.purged:,} in deleted repositories)" if facts.purged else ""
        return f"{due:,} of {facts.manifests:,} manifests become due within an hour{purged}"
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
    """Return for how many milliseconds a check is valid that took `took_ms`."""
    return min(MOST_VALID_MS, max(LEAST_VALID_MS, 100 * took_ms))
