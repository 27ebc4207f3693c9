"""The result of each compared collector (a contender), and the comparison of their results."""

from __future__ import annotations

from dataclasses import dataclass

from bench.count import Count


@dataclass(frozen=True)
class Run:
    """One contender's run on one clone; `left` counts the remaining rows by table."""

    seconds: float
    before: dict[str, int]
    left: dict[str, int]
    statements: int = 0
    rss_mb: float = 0.0
    rss_growth_mb: float = 0.0
    longest_s: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def of(
        cls,
        count: Count,
        before: dict[str, int],
        left: dict[str, int],
        rss_mb: float,
        rss_growth_mb: float = 0.0,
    ) -> Run:
        """Return the counts of a run, from the tables' row counts before and after it."""
        return cls(
            seconds=count.seconds,
            before=before,
            left=left,
            statements=count.statements,
            rss_mb=rss_mb,
            rss_growth_mb=rss_growth_mb,
            longest_s=count.longest_s,
            cpu_s=count.cpu_s,
        )

    def removed(self, table: str) -> int:
        """Return the rows removed from a table."""
        return self.before[table] - self.left[table]

    @property
    def manifests(self) -> int:
        """Return the manifests removed."""
        return self.removed("manifest")

    @property
    def rows(self) -> int:
        """Return the rows removed from all tables."""
        return sum(map(self.removed, self.before))

    @property
    def manifests_per_s(self) -> float:
        """Return the manifests removed per second."""
        return self.manifests / self.seconds if self.seconds else 0.0


class Disagreement(Exception):
    """Two contenders did not remove the same rows, so their times cannot be compared."""


def agree(name: str, run: Run, other_name: str, other: Run) -> None:
    """Raise `Disagreement` unless both left the same number of rows in every table."""
    different = {
        table: (run.left[table], other.left[table])
        for table in run.left
        if run.left[table] != other.left[table]
    }
    if different:
        raise Disagreement(f"{name} and {other_name} left different rows: {different}")
