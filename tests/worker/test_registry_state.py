"""The registry's state for Prometheus: right, by one exporter at a time, and with its documents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from model.controls import limits
from model.controls.holds import set_hold
from model.controls.lease import release_lease, take_lease
from model.periodic import record_end
from model.policy import DEFAULT, HOUR_MS
from tests.support.world import WEEK_S, World
from worker import metrics
from worker.health import HealthServer, find_outages
from worker.registry_state import LEASE, RegistryState
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/metrics.md").read_text()
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/dredge.json"
PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\b(?:dredge|quay_gc)_[a-z_]+[a-z]")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")


def exposed(state: RegistryState) -> str:
    registry = CollectorRegistry()
    registry.register(state)
    return generate_latest(registry).decode()


def values(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@pytest.fixture
def state(world: World) -> RegistryState:
    """The state of a registry with some of everything that waits."""
    world.tag("bystander")
    world.tag("old", ended_ms=world.now_ms - 2 * WEEK_S * 1000 - HOUR_MS)
    world.execute(
        "INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms, tries)"
        " VALUES ('a', 'x', 7, %s, 0, 0), ('b', 'x', 3, %s, 0, 2)",
        (world.now_ms - 2 * HOUR_MS, world.now_ms),
    )
    for name, hours in (("soon", 0.5), ("today", 5), ("later", 50)):
        ended_ms = world.now_ms - 2 * WEEK_S * 1000 + int(hours * HOUR_MS)
        world.tag(name, repository=world.repository(name), ended_ms=ended_ms)
    limits.charge("rows", 3600, per_s=1)
    set_hold(reason="x", author="y")
    record_end("prune", 60_000)
    record_end("sweep", 60_000)
    world.execute("UPDATE dredge_periodic_task SET ended_ms = 1000 WHERE name = 'sweep'")
    return RegistryState(DEFAULT)


def test_the_gauges_are_what_the_database_holds(world: World, state: RegistryState) -> None:
    assert [name for name in values(exposed(state)) if "build_info" not in name] == []
    state.refresh()
    seen = values(exposed(state))
    assert seen["dredge_due_repositories"] == 1 and 3600 <= seen["dredge_oldest_overdue_seconds"] < 3700
    assert seen['dredge_tombstones{state="waiting"}'] == seen['dredge_tombstones{state="failing"}'] == 1
    assert seen["dredge_tombstone_bytes"] == 10 and 7200 <= seen["dredge_oldest_tombstone_seconds"] < 7300
    assert seen["dredge_holds"] == 1 and seen["dredge_breaker_open"] == 0
    assert seen['dredge_failing{stage="erase"}'] == 1
    assert seen["dredge_window_open"] == 1 and seen['dredge_limit_wait_seconds{limit="rows"}'] > 3000
    assert seen['dredge_due_within_seconds{horizon="3600"}'] == 1
    assert seen['dredge_due_within_seconds{horizon="86400"}'] == 2
    assert seen['dredge_task_late{task="sweep"}'] == 1 and seen['dredge_task_late{task="prune"}'] == 0
    assert seen['dredge_task_last_end_timestamp_seconds{task="sweep"}'] == 1
    assert seen['dredge_dead_rows{table="tag"}'] >= 0


def test_one_worker_exports_the_state_and_another_takes_over(world: World, state: RegistryState) -> None:
    assert take_lease(LEASE, "another", lease_ms=60_000)
    state.refresh()
    assert "dredge_holds" not in values(exposed(state))
    release_lease(LEASE, "nobody")
    assert not take_lease(LEASE, "me", lease_ms=1)
    world.execute("UPDATE dredge_lease SET until_ms = 0")
    state.refresh()
    assert "dredge_holds" in values(exposed(state))
    assert not take_lease(LEASE, "another", lease_ms=60_000)


def test_readiness_names_what_does_not_answer(world: World, valkey: str) -> None:
    assert find_outages(Settings(broker_url=valkey)) == []
    away = find_outages(Settings(broker_url="redis://:secret@127.0.0.1:1/0"))
    assert away == ["the broker does not answer"]
    server = HealthServer(lambda: away)
    assert server.answer("/readyz")[0] == 503 and server.answer("/healthz")[0] == 200
    server.close()


@pytest.fixture
def everything(state: RegistryState) -> Iterator[str]:
    """All that a worker exposes."""
    metrics.prepare()
    with metrics.task("x"), metrics.batch("collect"):
        metrics.freed(**dict.fromkeys(metrics.FREED, 1))
        metrics.published(1)
        metrics.iterated()
        metrics.waited("dredge.collect", "worker.tasks.garbage_collect_repo", 1.0)
    metrics.CacheRecorder().record("tag", "hit", 0.1)
    state.refresh()
    registry = metrics.registry()
    registry.register(state)
    yield generate_latest(registry).decode()
    metrics.stop()


def test_every_metric_is_documented_and_every_documented_one_is_there(everything: str) -> None:
    there = set(re.findall(r"^# TYPE (\S+)", everything, re.MULTILINE))
    documented = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
    assert there == documented
    words = (*metrics.OUTCOMES, *metrics.FREED, *metrics.STAGES, *metrics.QUAY_TABLES.values())
    assert all(f"`{word}`" in PAGE for word in words)


def test_alerts_and_dashboard_name_metrics_that_are_there_and_every_alert_is_in_the_runbook(
    everything: str,
) -> None:
    queries = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    queries += re.findall(r"expr: (.+)", ALERTS.read_text())
    for name in NAME.findall(" ".join(queries)):
        assert f"\n{name}{{" in everything or f"\n{name} " in everything, name
    runbook = (ROOT / "docs/how-to/runbook.md").read_text()
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
    assert alerts == re.findall(r"^## (Dredge\w+)", runbook, re.MULTILINE)
    assert re.findall(r"runbook.md#(\w+)", ALERTS.read_text()) == [name.lower() for name in alerts]


@needs_promtool
def test_promtool_accepts_the_metrics(everything: str) -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=everything, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_each_alert_is_seen_to_fire_and_not_to_fire_too_early() -> None:
    stories = yaml.safe_load((ALERTS.parent / "alerts_test.yaml").read_text())["tests"]
    seen = {
        (one["alertname"], bool(one["exp_alerts"])) for each in stories for one in each["alert_rule_test"]
    }
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
    assert seen == {(alert, fires) for alert in alerts for fires in (True, False)}


@needs_promtool
def test_promtool_accepts_the_alerts_and_they_fire_when_they_should() -> None:
    for command in (["check", "rules", ALERTS.name], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run([str(PROMTOOL), *command], cwd=ALERTS.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
