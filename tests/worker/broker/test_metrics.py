"""What a worker tells Prometheus, summed over its processes, and what it leaves behind: nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.world import World
from tests.worker.broker.running import ROOT, eventually, worker
from worker import metrics
from worker.client import Client


def scrape(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_without_a_port_nothing_is_recorded() -> None:
    metrics.prepare(0)
    metrics.serve(0)
    with metrics.task("x"):
        metrics.freed(tags=1)
        metrics.published(1)
    metrics.stop()


def test_every_metric_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for name in (
        "dredge_tasks_total",
        "dredge_task_seconds",
        "dredge_freed_total",
        "dredge_events_published_total",
    ):
        assert f"`{name}" in page
    assert all(f"`{word}`" in page for word in (*metrics.OUTCOMES, *metrics.FREED))


@pytest.mark.slow
def test_a_worker_counts_what_its_children_did_and_leaves_no_file(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    prompt = world.repository("prompt", namespace=world.namespace("now", window_s=0))
    for _ in range(3):
        world.tag(repository=prompt, ended_ms=1000)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "tmp").mkdir()
    told = {**environment, "DREDGE_METRICS_PORT": str(port), "TMPDIR": str(tmp_path / "tmp")}
    with worker(told, tmp_path, concurrency=2) as running:
        assert client.collect("now/prompt").get(timeout=10)["tags"] == 3
        with pytest.raises(Exception, match="no such repository"):
            client.collect("now/nothing").get(timeout=10)
        done = 'dredge_tasks_total{outcome="done",task="worker.tasks.garbage_collect_repo"}'
        eventually(lambda: scrape(port).get(done) == 1, 10, running)
        seen = scrape(port)
        assert seen['dredge_tasks_total{outcome="refused",task="worker.tasks.garbage_collect_repo"}'] == 1
        assert seen['dredge_freed_total{what="tags"}'] == 3
        eventually(lambda: scrape(port).get("dredge_events_published_total", 0) >= 4, 10, running)
        assert running.stop() == 0
    assert list((tmp_path / "tmp").glob("dredge-metrics-*")) == []
