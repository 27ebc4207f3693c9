"""A real worker sends its spans to a receiver of OTLP over HTTP."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.patience import eventually
from tests.support.servers.http import Handler, serving
from tests.support.world import World
from tests.worker.broker.running import worker
from worker.client import Client


@dataclass(frozen=True)
class Span:
    """A span as it arrived; ids in hexadecimal, an empty parent for a root."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    text: str


@dataclass
class Receiver:
    """What an OTLP collector has received; `paths` are those of the requests."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for one in scope.spans:
                    ids = (one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex())
                    self.spans.append(Span(service["service.name"], one.name, *ids, str(one)))


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A collector on loopback that speaks OTLP over HTTP, in protobuf."""
    made = Receiver()

    class Collector(Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            made.take(self.path, gzip.decompress(body) if packed else body)
            self.answer(200)

    with serving(Collector) as made.port:
        yield made


@pytest.mark.slow
def test_a_collection_that_a_scan_has_enqueued_is_in_the_scan_s_trace_with_its_statements(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    world.tag("bystander")
    other = world.repository("other", namespace=world.namespace("now", window_s=0))
    gone = world.tag("confidential-name", repository=other, ended_ms=1000)
    with receiver() as collector:
        told = {
            **environment,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with worker(told, tmp_path) as running:
            client.find()
            eventually(lambda: not world.rows("SELECT id FROM tag WHERE id = %s", (int(gone),)), running)
            eventually(lambda: collector.named("run/worker.tasks.garbage_collect_repo"), running)
            assert running.stop() == 0
    (scan,) = collector.named("run/worker.tasks.find_repositories_with_garbage")
    (collection,) = collector.named("run/worker.tasks.garbage_collect_repo")
    by_id = {span.id: span for span in collector.spans}
    sent = by_id[collection.parent]
    assert sent.name == "apply_async/worker.tasks.garbage_collect_repo" and sent.parent == scan.id
    assert collection.trace == scan.trace and not scan.parent
    for task in (scan, collection):
        statements = [span for span in collector.spans if span.parent == task.id and span.name == "SELECT"]
        assert len(statements) > 1 and {span.trace for span in statements} == {task.trace}
    assert collector.paths == {"/v1/traces"} and {span.service for span in collector.spans} == {"dredge"}
    assert not [span for span in collector.spans if "confidential-name" in span.text]
