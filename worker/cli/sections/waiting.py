"""What waits for each stage, what the last hour did, and the time left at that rate."""

from __future__ import annotations

from dataclasses import asdict

from worker.cli import tables
from worker.cli.sections.section import Section, Table
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return the backlog; a time left is None where the last hour did nothing."""
    return Section(
        facts={
            "repositories_due": overview.repositories_due,
            "repositories_looked_at": overview.repositories_looked_at,
            "whole_registry": overview.whole_registry,
            "oldest_overdue_ms": overview.oldest_overdue_ms,
            **asdict(overview.waiting),
            "quarantine": asdict(overview.quarantine),
            "due_within_s": overview.due_within,
            "last_hour": asdict(overview.last_hour),
            "collect_left_ms": overview.collect_left_ms,
            "erase_left_ms": overview.erase_left_ms,
        },
        tables=(Table(("waiting", "", "done in an hour", "time left"), _rows(overview)),),
    )


def _rows(overview: Overview) -> list[tuple[object, ...]]:
    waiting, done, now_ms = overview.waiting, overview.last_hour, overview.now_ms
    more = "" if overview.whole_registry else f" among the first {overview.repositories_looked_at:,}"
    scanned = waiting.last_scan_ms and f"{tables.human_ms(now_ms - waiting.last_scan_ms)} ago"
    return [
        (
            "repositories with garbage",
            f"{overview.repositories_due:,}{more}",
            f"{done.repositories:,}",
            _left(overview.repositories_due, overview.collect_left_ms),
        ),
        ("oldest overdue", tables.human_ms(overview.oldest_overdue_ms), "", ""),
        ("manifests to judge", f"{waiting.manifest_candidates:,}", f"{done.manifests:,}", ""),
        ("blobs to review", f"{waiting.blob_candidates:,}", f"{done.blobs:,}", ""),
        (
            "objects to erase",
            f"{waiting.tombstones:,}: {_objects(overview)}",
            f"{done.objects:,} ({tables.human_bytes(done.bytes)})",
            _left(waiting.tombstones, overview.erase_left_ms),
        ),
        ("objects in the trash", _trash(overview), "", ""),
        ("security reports to delete", f"{waiting.report_debts:,}", "", ""),
        ("events to publish", f"{waiting.unpublished_events:,}", "", ""),
        ("last scan", scanned or "never", "", ""),
    ]


def _objects(overview: Overview) -> str:
    waiting = overview.waiting
    oldest_ms = waiting.oldest_tombstone_ms
    oldest = f", oldest {tables.human_ms(overview.now_ms - oldest_ms)}" if oldest_ms else ""
    return f"{tables.human_bytes(waiting.tombstone_bytes)}, {waiting.failing_tombstones:,} failing{oldest}"


def _trash(overview: Overview) -> str:
    found, next_ms = overview.quarantine, overview.quarantine.next_purge_ms
    text = f"{found.objects:,}: {tables.human_bytes(found.bytes)}, {found.failing:,} failing"
    if next_ms is not None:
        text += f", next purge in {tables.human_ms(max(0, next_ms - overview.now_ms))}"
    return text + (f", {found.put_back:,} put back and watched" if found.put_back else "")


def _left(waiting: int, left_ms: int | None) -> str:
    if not waiting:
        return ""
    return "unknown" if left_ms is None else f"about {tables.human_ms(left_ms)}"
