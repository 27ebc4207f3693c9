"""Traces: a task and its SQL are one trace, and no parameter of a statement is in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.world import World
from worker.former_names import COLLECTED

ROOT = Path(__file__).parents[2]

_STORY = """
import json, sys
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from worker import tracing

memory = InMemorySpanExporter()
assert not tracing.start()
assert tracing.start(SimpleSpanProcessor(memory)) and tracing.start()
from worker import wiring
from worker.tasks import application, garbage_collect_repo
wiring.context(application)
collected = garbage_collect_repo.apply([int(sys.argv[1])]).get()
spans = [
    {"name": span.name, "trace": span.context.trace_id, "parent": span.parent and span.parent.span_id,
     "id": span.context.span_id, "attributes": dict(span.attributes),
     "resource": dict(span.resource.attributes)}
    for span in memory.get_finished_spans()
]
tracing.stop()
print(json.dumps({"collected": collected, "spans": spans}, default=str))
"""


def traced(world: World, valkey: str, tmp_path: Path, repository: int) -> Any:
    environment = {
        "PATH": os.defpath,
        "DREDGE_DATABASE_URL": world.url,
        "DREDGE_BROKER_URL": valkey,
        "DREDGE_STORAGE": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", _STORY, str(repository)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_collection_is_one_trace_of_its_task_and_its_statements(
    world: World, valkey: str, tmp_path: Path
) -> None:
    world.tag("bystander")
    other = world.repository("other", namespace=world.namespace("now", window_s=0))
    gone = world.tag("confidential-name", repository=other, ended_ms=1000)
    with world.only_removes(tag=gone, manifest=gone.manifest):
        told = traced(world, valkey, tmp_path, other)
    assert told["collected"]["tags"] == 1
    for name, former in COLLECTED.items():
        assert told["collected"][former] == told["collected"][name]
    (task,) = [span for span in told["spans"] if span["name"].startswith("run/")]
    assert task["name"] == "run/worker.tasks.garbage_collect_repo"
    assert task["resource"]["service.name"] == "dredge"
    statements = [span for span in told["spans"] if span["parent"] == task["id"]]
    assert len(statements) > 3 and {span["trace"] for span in statements} == {task["trace"]}
    assert "confidential-name" not in json.dumps(told["spans"])
