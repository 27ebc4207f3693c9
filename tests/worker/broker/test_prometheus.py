"""A real Prometheus scrapes a real worker, and an alert fires and ends."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from model.controls.breaker import approve
from tests.support.patience import eventually
from tests.support.world import World
from tests.worker.broker.running import ROOT, Process, free_port, worker

PROMETHEUS = shutil.which("prometheus")

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{alerts}]
scrape_configs:
  - job_name: dredge
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@contextmanager
def prometheus(directory: Path, scraped: int) -> Iterator[tuple[Process, int]]:
    """A Prometheus with our alert rules, and its port."""
    port, log = free_port(), directory / "prometheus.log"
    alerts = ROOT / "deploy" / "prometheus" / "alerts.yaml"
    (directory / "prometheus.yaml").write_text(CONFIG.format(alerts=alerts, port=scraped))
    command = [
        str(PROMETHEUS),
        f"--config.file={directory}/prometheus.yaml",
        f"--storage.tsdb.path={directory}/tsdb",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield Process(process, log), port
        finally:
            process.kill()
            process.wait()


def firing(port: int) -> set[str]:
    """Names of the alerts that fire; none before Prometheus answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=5) as answer:
            alerts = json.load(answer)["data"]["alerts"]
    except (URLError, OSError):
        return set()
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus (Debian: prometheus) is not installed")
def test_an_open_breaker_fires_its_alert_until_it_is_approved(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    world.tag("bystander")
    world.execute(
        "INSERT INTO dredge_breaker (namespace_id, window_ms, opened_ms, reason)"
        " VALUES (%s, 1, 1, 'too much')",
        (world.namespace_id,),
    )
    scraped = free_port()
    told = {**environment, "DREDGE_METRICS_PORT": str(scraped)}
    with worker(told, tmp_path) as running, prometheus(tmp_path, scraped) as (watching, port):
        eventually(lambda: "DredgeBreakerOpen" in firing(port), running, watching)
        assert approve(world.namespace_id, author="me")
        eventually(lambda: "DredgeBreakerOpen" not in firing(port), running, watching)
    assert world.rows("SELECT opened_ms, approved_by FROM dredge_breaker") == [(None, "me")]
