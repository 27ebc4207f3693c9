"""Gauges of the registry's state.  Labels are words from fixed lists, never names from the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily

from model.controls.limits import LIMITS
from worker.jobs.overview import Overview


def gauges(overview: Overview) -> Iterator[GaugeMetricFamily]:
    """Yield every gauge of the state."""
    for name, (value, help) in _plain(overview).items():
        yield GaugeMetricFamily(name, help, value=float(value))
    yield from _labelled(overview)
    yield from _erasing(overview)
    yield from _periodic(overview)


def _plain(overview: Overview) -> dict[str, tuple[float, str]]:
    waiting = overview.waiting
    oldest_ms = waiting.oldest_tombstone_ms
    return {
        "dredge_due_repositories": (overview.repositories_due, "Repositories with garbage, up to 5,000."),
        "dredge_oldest_overdue_seconds": (overview.oldest_overdue_ms / 1000, "Longest wait of a repository."),
        "dredge_manifest_candidates": (waiting.manifest_candidates, "Manifests to judge."),
        "dredge_blob_candidates": (waiting.blob_candidates, "Blobs to review."),
        "dredge_tombstone_bytes": (waiting.tombstone_bytes, "Bytes of objects to erase."),
        "dredge_oldest_tombstone_seconds": (
            0 if oldest_ms is None else (overview.now_ms - oldest_ms) / 1000,
            "Age of the oldest object to erase.",
        ),
        "dredge_quarantined_bytes": (overview.quarantine.bytes, "Bytes of objects in the trash."),
        "dredge_next_purge_timestamp_seconds": (
            (overview.quarantine.next_purge_ms or 0) / 1000,
            "When the next object leaves the trash for good; 0: none is there.",
        ),
        "dredge_suspended_locations": (
            len(overview.suspended),
            "Suspended storage locations.",
        ),
        "dredge_report_debts": (waiting.report_debts, "Security reports to delete."),
        "dredge_unpublished_events": (waiting.unpublished_events, "Events that are not published yet."),
        "dredge_holds": (len(overview.holds), "Holds in force."),
        "dredge_breaker_open": (len(overview.breakers), "Open breakers."),
        "dredge_window_open": (overview.window.is_open, "Whether anything may be removed at this time."),
        "dredge_replication_lag_seconds": (overview.health.lag_ms / 1000, "Lag of the slowest standby."),
        "dredge_active_sessions": (overview.health.active_sessions, "Active sessions of the database."),
        "dredge_last_scan_timestamp_seconds": (
            (waiting.last_scan_ms or 0) / 1000,
            "When the last scan ended; 0: never.",
        ),
    }


def _labelled(overview: Overview) -> Iterator[GaugeMetricFamily]:
    waits = {limit.name: limit.wait_ms / 1000 for limit in overview.limits}
    yield _family(
        "dredge_due_within_seconds",
        "Repositories that come due within the horizon, up to 5,000.",
        "horizon",
        {str(seconds): count for seconds, count in overview.due_within.items()},
    )
    yield _family(
        "dredge_limit_wait_seconds",
        "How long all workers wait for a limit.",
        "limit",
        {name: waits.get(name, 0) for name in LIMITS},
    )
    yield _family(
        "dredge_dead_rows",
        "Rows that vacuum has not removed yet.",
        "table",
        {each.table: each.dead_rows for each in overview.tables},
    )


def _periodic(overview: Overview) -> Iterator[GaugeMetricFamily]:
    yield _family(
        "dredge_task_last_end_timestamp_seconds",
        "When a periodic task last ended; 0: never.",
        "task",
        {each.name: (each.ended_ms or 0) / 1000 for each in overview.periodic},
    )
    yield _family(
        "dredge_task_late",
        "Whether a periodic task is late.",
        "task",
        {each.name: float(each.is_late) for each in overview.periodic},
    )


def _erasing(overview: Overview) -> Iterator[GaugeMetricFamily]:
    waiting = overview.waiting
    yield _family(
        "dredge_tombstones",
        "Objects to erase.",
        "state",
        {"waiting": waiting.tombstones - waiting.failing_tombstones, "failing": waiting.failing_tombstones},
    )
    yield _family(
        "dredge_quarantined",
        "Objects that were set aside.",
        "state",
        {"in_trash": overview.quarantine.objects, "put_back": overview.quarantine.put_back},
    )
    yield _family(
        "dredge_failing",
        "What fails and is tried again.",
        "stage",
        {
            "collect": len(overview.failures),
            "erase": waiting.failing_tombstones,
            "quarantine": overview.quarantine.failing,
            **overview.poisoned,
        },
    )


def _family(name: str, help: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family
