"""What a contender reports, and how contenders are compared."""

from __future__ import annotations

from dataclasses import dataclass

from bench.count import Count


@dataclass(frozen=True)
class Run:
    """One contender's run on one clone: `left` are the rows that remain, by table."""

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
        """Return what was counted, between two looks at the tables."""
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
        """Rows that went from a table."""
        return self.before[table] - self.left[table]

    @property
    def manifests(self) -> int:
        """Manifests removed."""
        return self.removed("manifest")

    @property
    def rows(self) -> int:
        """Rows removed from all tables."""
        return sum(map(self.removed, self.before))

    @property
    def manifests_per_s(self) -> float:
        """The rate."""
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
