"""Each outage fires its alert in a real Prometheus, and what the runbook says ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis

from tests.outages.conftest import OutageServers
from tests.outages.test_eraser import signal_all
from tests.soak.images import Image
from tests.support.patience import PATIENCE_S, eventually
from tests.support.prometheus import firing, has_scraped, hasty_rules, needs_prometheus, prometheus
from tests.worker.broker.running import ROOT, Process, free_port, worker

pytestmark = [pytest.mark.slow, needs_prometheus]

DREDGE = [sys.executable, "-c", "from worker.cli import main; main()"]
RUNBOOK = (ROOT / "docs" / "how-to" / "runbook.md").read_text()


class Watched:
    """A worker and a beat that a Prometheus watches."""

    def __init__(self, servers: OutageServers, scraped: int, port: int, *running: Process) -> None:
        self.servers, self.scraped, self.port, self.running = servers, scraped, port, running

    @property
    def firing(self) -> set[str]:
        """The alerts that fire, without those of a backlog."""
        return firing(self.port) & {"DredgeNoExporter", "DredgeScanStalled"}

    def readiness(self) -> str:
        """What `/readyz` answers, whatever its status."""
        try:
            with urlopen(f"http://127.0.0.1:{self.scraped}/readyz", timeout=PATIENCE_S) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            return error.read().decode()

    def check(self) -> str:
        """What `dredge check` says."""
        environment = {**os.environ, **self.servers.environment}
        done = subprocess.run([*DREDGE, "check"], cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.stdout + done.stderr


def entry(alert: str) -> str:
    """The runbook's entry of an alert."""
    return RUNBOOK.partition(f"## {alert}\n")[2].partition("\n## ")[0]


@pytest.fixture
def images(outage_servers: OutageServers) -> dict[str, Image]:
    """An image to keep, and one to delete."""
    return {tag: outage_servers.push(tag, 1, n) for n, tag in enumerate(("kept", "doomed"))}


@pytest.fixture
def scraped(outage_servers: OutageServers) -> int:
    """The port at which the worker exports metrics."""
    port = free_port()
    outage_servers.environment["DREDGE_METRICS_PORT"] = str(port)
    return port


@contextmanager
def watched(servers: OutageServers, scraped: int) -> Iterator[Watched]:
    """A system that works, watched: no alert of an outage fires."""
    with ExitStack() as stack:
        working = stack.enter_context(servers.system(concurrency=2))
        rules = hasty_rules(servers.directory)
        watching, port = stack.enter_context(prometheus(servers.directory, scraped, rules))
        made = Watched(servers, scraped, port, working, watching)
        eventually(lambda: has_scraped(port, "dredge_last_scan_timestamp_seconds > 0"), *made.running)
        eventually(lambda: not made.firing, *made.running)
        yield made


def test_when_every_worker_is_killed_an_alert_fires_until_one_is_started(
    outage_servers: OutageServers, images: dict[str, Image], scraped: int
) -> None:
    with watched(outage_servers, scraped) as seen:
        signal_all(seen.running[0], signal.SIGKILL)
        outage_servers.delete("doomed")
        eventually(lambda: seen.firing == {"DredgeNoExporter"}, *seen.running)
        assert "Start them" in entry("DredgeNoExporter")
        with worker(outage_servers.environment, outage_servers.directory) as again:
            eventually(lambda: not seen.firing, again, *seen.running)
            outage_servers.gone(images["doomed"], again)
            outage_servers.settle(again)
            outage_servers.pull("kept")


def test_when_the_database_freezes_an_alert_fires_until_it_answers(
    outage_servers: OutageServers, images: dict[str, Image], scraped: int
) -> None:
    postgres = outage_servers.servers.postgres
    assert postgres is not None
    outage_servers.delete("doomed")
    with watched(outage_servers, scraped) as seen:
        postgres.freeze()
        eventually(lambda: seen.firing == {"DredgeNoExporter"}, *seen.running)
        assert "/readyz" in entry("DredgeNoExporter")
        assert seen.readiness() == "the database does not answer\n"
        postgres.thaw()
        eventually(lambda: not seen.firing, *seen.running)
        eventually(lambda: seen.readiness() == "ready\n", *seen.running)
        outage_servers.gone(images["doomed"], *seen.running)
        outage_servers.settle(*seen.running)
        outage_servers.pull("kept")


def test_when_redis_is_full_an_alert_fires_until_it_has_more_memory(
    outage_servers: OutageServers, images: dict[str, Image], scraped: int
) -> None:
    valkey = redis.Redis.from_url(outage_servers.servers.broker_url)
    with watched(outage_servers, scraped) as seen:
        valkey.config_set("maxmemory", 1)
        outage_servers.delete("doomed")
        eventually(lambda: seen.firing == {"DredgeScanStalled"}, *seen.running)
        assert "`dredge check` says so" in entry("DredgeScanStalled")
        assert "maxmemory" in seen.check()
        valkey.config_set("maxmemory", 0)
        eventually(lambda: not seen.firing, *seen.running)
        outage_servers.gone(images["doomed"], *seen.running)
        outage_servers.settle(*seen.running)
        outage_servers.pull("kept")
