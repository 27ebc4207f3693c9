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
    """The findings of all checks, also of those that met nothing."""

    findings: tuple[Finding, ...]
    objects: int
    bytes: int

    def __bool__(self) -> bool:
        """True where no invariant is violated."""
        return not self.violations

    @property
    def violations(self) -> tuple[Finding, ...]:
        """Return what must never be seen, and was."""
        return tuple(f for f in self.findings if f.kind == "violation" and f.count)

    @property
    def pending(self) -> tuple[Finding, ...]:
        """Work that a stage will find by itself."""
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
    """Every invariant over the rows and the objects of the given locations; reads only, in bounded memory.

    An unknown object younger than `young_ms` is pending: beside a live Quay the bytes come before the
    row.  `deep` reads every manifest and every object.  Can be run at any time, beside a running system:
    whatever looks wrong is looked at a second time before it is reported.
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
