"""The state of the registry for Prometheus, exported by one worker of the fleet at a time."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from model.controls.lease import release_lease, take_lease
from model.controls.limits import LIMITS
from model.db.connection import connection
from model.errors import RegistryError
from model.policy import Policy
from worker import logs
from worker.jobs.overview import Overview, read_overview

log = logs.logger("dredge.metrics")

LEASE = "registry-state"
EVERY_S = 15.0
# Longer than a read takes and shorter than anybody's patience for a dead exporter.
LEASE_MS = 60_000


_states: dict[int, RegistryState] = {}


def registry_state(policy: Policy) -> RegistryState:
    """This process's state: the thread that reads it and the port that exports it share it."""
    return _states.setdefault(os.getpid(), RegistryState(policy))


class RegistryState(Collector):
    """Reads the state every 15 seconds while it holds the lease; a scrape gets what was read last."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._read: tuple[float, Overview] | None = None

    def run(self, stop: threading.Event) -> None:
        """Read until told to stop; raises `RegistryError` where the database does not answer."""
        try:
            while not stop.is_set():
                self.refresh()
                stop.wait(EVERY_S)
        finally:
            self._give_back()

    def refresh(self) -> None:
        """Read the state if this is the exporter, or nobody is."""
        with connection():
            if take_lease(LEASE, self._holder, lease_ms=LEASE_MS):
                self._read = (time.monotonic(), read_overview(self._policy))
            else:
                self._read = None

    def _give_back(self) -> None:
        try:
            with connection():
                release_lease(LEASE, self._holder)
        except RegistryError as error:
            log.warning("lease.not_released", error=str(error))

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is known before the first read."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; none where another worker exports them, or the last read is too old."""
        build = GaugeMetricFamily("dredge_build_info", "The version that runs.", labels=["version"])
        build.add_metric([version("quay-dredge")], 1)
        yield build
        read = self._read
        if read is not None and time.monotonic() - read[0] < LEASE_MS / 1000:
            yield from gauges(read[1])


def gauges(overview: Overview) -> Iterator[GaugeMetricFamily]:
    """The state as gauges; labels are words of this list, never names of the registry."""
    waiting = overview.waiting
    oldest_ms = waiting.oldest_tombstone_ms
    values = {
        "dredge_due_repositories": (overview.repositories_due, "Repositories with garbage, up to 5,000."),
        "dredge_oldest_overdue_seconds": (overview.oldest_overdue_ms / 1000, "Longest wait of a repository."),
        "dredge_manifest_candidates": (waiting.manifest_candidates, "Manifests to judge."),
        "dredge_blob_candidates": (waiting.blob_candidates, "Blobs to review."),
        "dredge_tombstone_bytes": (waiting.tombstone_bytes, "Bytes of objects to erase."),
        "dredge_oldest_tombstone_seconds": (
            0 if oldest_ms is None else (overview.now_ms - oldest_ms) / 1000,
            "Age of the oldest object to erase.",
        ),
        "dredge_report_debts": (waiting.report_debts, "Security reports to delete."),
        "dredge_unpublished_events": (waiting.unpublished_events, "Events that no relay has published."),
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
    for name, (value, help) in values.items():
        yield GaugeMetricFamily(name, help, value=float(value))
    waits = GaugeMetricFamily("dredge_limit_wait_seconds", "Wait for a limit.", labels=["limit"])
    known = {limit.name: limit.wait_ms for limit in overview.limits}
    for limit in LIMITS:
        waits.add_metric([limit], known.get(limit, 0) / 1000)
    yield waits
    tombstones = GaugeMetricFamily("dredge_tombstones", "Objects to erase.", labels=["state"])
    tombstones.add_metric(["waiting"], waiting.tombstones - waiting.failing_tombstones)
    tombstones.add_metric(["failing"], waiting.failing_tombstones)
    yield tombstones
    failing = GaugeMetricFamily("dredge_failing", "What fails and is tried again.", labels=["stage"])
    failing.add_metric(["collect"], len(overview.failures))
    failing.add_metric(["erase"], waiting.failing_tombstones)
    yield failing
