"""A real Prometheus with our alert rules, and what fires in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.support.patience import PATIENCE_S
from tests.worker.broker.running import ROOT, Process, free_port

PROMETHEUS = shutil.which("prometheus")
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"

needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="Prometheus (Debian: prometheus) is not installed"
)

# Longer than the interval at which a worker reads the registry's state, with that of the scans.
SCAN_LATE_S = 30


def hasty_rules(directory: Path) -> Path:
    """Write the rules with one second for each `for`, and with a scan that is late after 30 s, not 900 s.

    Names and expressions are those of the real rules, whose times promtool tests.
    """
    rules = yaml.safe_load(ALERTS.read_text())
    for alert in rules["groups"][0]["rules"]:
        alert["for"] = "1s"
        alert["expr"] = re.sub(r"> 900$", f"> {SCAN_LATE_S}", alert["expr"])
    path = directory / "hasty.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


@contextmanager
def prometheus(directory: Path, scraped: int, rules: Path = ALERTS) -> Iterator[tuple[Process, int]]:
    """A Prometheus with these rules that scrapes the port `scraped` of loopback, and its own port."""
    port, log = free_port(), directory / "prometheus.log"
    targets = [{"job_name": "dredge", "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]}]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": targets,
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
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
    alerts = _ask(port, "alerts").get("alerts", [])
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def has_scraped(port: int, query: str) -> bool:
    """Whether a query of PromQL has a result."""
    return bool(_ask(port, f"query?{urlencode({'query': query})}").get("result"))


def _ask(port: int, what: str) -> Any:
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/{what}", timeout=PATIENCE_S) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {}
