"""Export the state of the registry to Prometheus, from one worker at a time."""

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
from model.db.connection import connection
from model.errors import RegistryError
from model.policy import Policy
from worker import logs
from worker.jobs.overview import Overview, read_overview
from worker.registry_gauges import gauges

log = logs.logger("dredge.metrics")

LEASE = "registry-state"
EVERY_S = 15.0
# Longer than a read takes, and short enough that another worker soon replaces a dead exporter.
LEASE_MS = 60_000


_states: dict[int, RegistryState] = {}


def registry_state(policy: Policy) -> RegistryState:
    """Return this process's state, shared by the thread that reads it and the port that exports it."""
    return _states.setdefault(os.getpid(), RegistryState(policy))


class RegistryState(Collector):
    """Reads the state every 15 seconds while it holds the lease; a scrape gets the last state."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._read: tuple[float, Overview] | None = None

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set.  Raises `RegistryError` if the database does not answer."""
        try:
            while not stop.is_set():
                self.refresh()
                stop.wait(EVERY_S)
        finally:
            self._give_back()

    def refresh(self) -> None:
        """Read the state if this process is the exporter, or if there is none."""
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
        """Describe no metrics: none is known before the first read."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges, or none if another worker exports them or the last read is too old."""
        build = GaugeMetricFamily("dredge_build_info", "The version that runs.", labels=["version"])
        build.add_metric([version("quay-dredge")], 1)
        yield build
        read = self._read
        if read is not None and time.monotonic() - read[0] < LEASE_MS / 1000:
            yield from gauges(read[1])
