"""What a worker tells Prometheus, summed over its processes, and what it leaves behind: nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import celery, free_port, scrape, worker
from worker import metrics
from worker.client import Client


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_without_a_port_nothing_is_recorded() -> None:
    with metrics.task("x"), metrics.batch("collect"):
        metrics.freed(tags=1)
        metrics.published(1)
        metrics.iterated()
        metrics.waited("dredge.collect", "worker.tasks.garbage_collect_repo", 1.0)
    metrics.stop()


def test_a_taken_port_ends_the_worker_with_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = {**environment, "DREDGE_METRICS_PORT": str(taken.getsockname()[1])}
        with celery(told, tmp_path, "worker", "-c", "1") as running:
            assert running.process.wait(PATIENCE_S) == 2
    assert "dredge: DREDGE_METRICS_PORT: " in running.log and "a port of its own" in running.log
    assert "Traceback" not in running.log


@pytest.mark.slow
def test_a_worker_counts_what_its_children_did_and_leaves_no_file(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    prompt = world.repository("prompt", namespace=world.namespace("now", window_s=0))
    for _ in range(3):
        world.tag(repository=prompt, ended_ms=1000)
    port = free_port()
    (tmp_path / "tmp").mkdir()
    told = {**environment, "DREDGE_METRICS_PORT": str(port), "TMPDIR": str(tmp_path / "tmp")}
    with worker(told, tmp_path, concurrency=2) as running:
        assert client.collect("now/prompt").get(timeout=PATIENCE_S)["tags"] == 3
        with pytest.raises(Exception, match="no such repository"):
            client.collect("now/nothing").get(timeout=PATIENCE_S)
        done = 'dredge_tasks_total{outcome="done",task="worker.tasks.garbage_collect_repo"}'
        eventually(lambda: scrape(port).get(done) == 1, running)
        seen = scrape(port)
        assert seen['quay_gc_table_rows_deleted_total{table="tag"}'] == 3
        assert seen["quay_gc_iterations_total"] == 1
        assert any(name.startswith("dredge_build_info{") for name in seen)
        eventually(lambda: "dredge_due_repositories" in scrape(port), running)
        assert get(port, "/healthz") == (200, "alive\n") and get(port, "/readyz") == (200, "ready\n")
        assert [get(port, path)[0] for path in ("/", "/metrics/x", "/../etc/passwd")] == [404, 404, 404]
        assert seen['dredge_tasks_total{outcome="refused",task="worker.tasks.garbage_collect_repo"}'] == 1
        assert seen['dredge_freed_total{what="tags"}'] == 3
        eventually(lambda: scrape(port).get("dredge_events_published_total", 0) >= 4, running)
        assert running.stop() == 0
    assert list((tmp_path / "tmp").glob("dredge-metrics-*")) == []
