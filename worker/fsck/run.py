"""Check every invariant: rows against rows, rows against objects, objects against rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from model.fsck import run
from model.fsck.check import Finding
from model.policy import Policy
from worker.fsck.objects import CHECKS, UNREADABLE, Location, Tally
from worker.storage.base import Store, StoreUnavailable


@dataclass(frozen=True)
class Report:
    """The findings of all checks, including those without an offender."""

    findings: tuple[Finding, ...]
    objects: int
    bytes: int

    def __bool__(self) -> bool:
        """Return True if no invariant is violated."""
        return not self.violations

    @property
    def violations(self) -> tuple[Finding, ...]:
        """Return the violated invariants."""
        return tuple(f for f in self.findings if f.kind == "violation" and f.count)

    @property
    def pending(self) -> tuple[Finding, ...]:
        """Return findings of work that a stage will do by itself."""
        return tuple(f for f in self.findings if f.kind == "pending" and f.count)


def check_registry(
    locations: Iterable[tuple[str, Store]],
    *,
    policy: Policy,
    now_ms: int,
    young_ms: int = 0,
    deep: bool = False,
    progress: Callable[[str], None] = lambda name: None,
) -> Report:
    """Check every invariant of the rows and of the objects of these locations.  Only reads; bounded memory.

    An unknown object younger than `young_ms` milliseconds is pending, because a live Quay writes the object
    before its row.  `deep` reads every manifest and every object.  Safe to run at any time beside a running
    system: each problem is checked a second time before it is reported.
    """
    findings = []
    for finding in run.check_rows(policy=policy, now_ms=now_ms, deep=deep):
        progress(finding.name)
        findings.append(finding)
    young_from_ms = now_ms - young_ms if young_ms else sys.maxsize
    tally = Tally(*CHECKS)
    for name, store in locations:
        progress(f"objects at {name}")
        try:
            Location(name, store, tally, young_from_ms=young_from_ms, deep=deep).check()
        except StoreUnavailable as error:
            tally.add(UNREADABLE, f"{name}: {error}")
    return Report((*findings, *tally.findings()), tally.objects, tally.bytes)
