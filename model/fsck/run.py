"""Run all checks of rows, one after the other, in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from model.fsck import blobs, manifests, queues, quota, tags
from model.fsck.check import Check, Finding, ask
from model.fsck.references import find_reference_checks
from model.fsck.snapshot import snapshot
from model.policy import Policy

CHECKS: tuple[Check, ...] = (
    *tags.CHECKS,
    *manifests.CHECKS,
    *blobs.CHECKS,
    *queues.CHECKS,
    *quota.CHECKS,
)


def check_rows(*, policy: Policy, now_ms: int, deep: bool = False) -> Iterator[Finding]:
    """Run every check, and yield each finding as soon as it is known; only reads.

    All checks use one REPEATABLE READ snapshot, so that findings match each other beside a running system.
    The server counts, in memory bounded by its work_mem and one slice of repositories.
    """
    parameters: dict[str, Any] = {
        "now_ms": now_ms,
        "immutable_stays": policy.protects_immutable,
        "cascade": policy.referrers == "cascade",
        "grace_ms": policy.referrer_grace_ms,
        "upload_ttl_ms": policy.upload_ttl_ms,
    }
    with snapshot():
        for check in (*find_reference_checks(), *CHECKS, *(manifests.DEEP if deep else ())):
            yield ask(check, parameters)
        yield from _check_slices(parameters)


def _check_slices(parameters: dict[str, Any]) -> Iterator[Finding]:
    for check in manifests.SLICED:
        finding = Finding(check.name, check.kind, check.what, check.advice, 0, ())
        for above, upto in manifests.find_slices():
            finding |= ask(check, parameters | {"above": above, "upto": upto})
        yield finding
