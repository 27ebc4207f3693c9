"""The latency of push, tag and pull, alone and during a collection at full speed."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from bench.collect import run_collector
from bench.figure import Figure, Options
from bench.lab import Lab, configured
from bench.store import nowhere
from model import namespace, registry, repository
from model.db.clock import now_ms
from model.manifest import create_manifest
from model.policy import DEFAULT
from worker.local.sample import Shape
from worker.local.sample.shape import registry as registry_shape
from worker.transfer.push import store_blob

NAME = "pushes"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Latencies:
    """(start, seconds) of each operation by kind, on the machine's monotonic clock."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.samples[kind].append((started, time.monotonic() - started))

    def between(self, start: float, end: float) -> dict[str, list[float]]:
        """Return the sorted seconds of operations that began in this period."""
        return {
            kind: sorted(seconds for at, seconds in found if start <= at <= end)
            for kind, found in self.samples.items()
        }


def push_for(url: str, seconds: float, seed: int) -> dict[str, list[tuple[float, float]]]:
    """Push, tag and pull small images of a base layer and two own layers for some seconds."""
    latencies = Latencies()
    with configured(url):
        name = f"pusher{seed}/app"
        repository_id = repository.ensure(namespace.ensure(f"pusher{seed}").id, "app").id
        deadline = time.monotonic() + seconds
        n = 0
        while time.monotonic() < deadline:
            n += 1
            _push_one(latencies, name, repository_id, f"{seed}-{n}", n)
    return dict(latencies.samples)


def _push_one(latencies: Latencies, name: str, repository_id: int, unique: str, n: int) -> None:
    contents = [b"base layer", *(f"{part} {unique}".encode() for part in ("config", "layer"))]
    digests = ["sha256:" + hashlib.sha256(content).hexdigest() for content in contents]
    with latencies.timed("push"):
        for digest, content in zip(digests, contents, strict=True):
            source = partial(tuple, (content,))
            store_blob(nowhere(), repository_id, digest, source, size=len(content), policy=DEFAULT)
        made = create_manifest(
            repository_id, _manifest(digests, contents), policy=DEFAULT, now_ms=now_ms(), media_type=_MANIFEST
        )
    with latencies.timed("tag"):
        registry.retarget_tag(name, f"v{n % 50}", made.digest)
    with latencies.timed("pull"):
        registry.get_manifest(name, f"v{n % 50}")
        for digest in digests:
            registry.find_blob(name, digest)


def _manifest(digests: list[str], contents: list[bytes]) -> bytes:
    described = [
        {"mediaType": kind, "digest": digest, "size": len(content)}
        for kind, digest, content in zip((_LAYER, _CONFIG, _LAYER), digests, contents, strict=True)
    ]
    body = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described[1]}
    return json.dumps(body | {"layers": [described[0], described[2]]}).encode()


def collect_timed(url: str) -> tuple[float, float]:
    """Collect all garbage.  Returns when it began and ended."""
    started = time.monotonic()
    run_collector(url)
    return started, time.monotonic()


def measure(shape: Shape, seconds: float) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return sorted seconds of each kind of operation, alone and during a collection at full speed."""
    with Lab() as lab, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        with lab.clone(shape) as url:
            alone = Latencies(pool.submit(push_for, url, seconds, 1).result())
        with lab.clone(shape) as url:
            pushing = pool.submit(push_for, url, seconds, 1)
            start, end = pool.submit(collect_timed, url).result()
            beside = Latencies(pushing.result())
    return alone.between(0, float("inf")), beside.between(start, end)


def run(options: Options) -> Iterator[Figure]:
    """Yield the 50th and 99th percentiles, and the slowdown during a collection."""
    calm, busy = measure(registry_shape(options.manifests), options.seconds)
    for kind in ("push", "tag", "pull"):
        for name, share in (("p50", 0.50), ("p99", 0.99)):
            before, during = (_percentile(found[kind], share) * 1000 for found in (calm, busy))
            yield Figure(NAME, f"{kind} {name} alone", before, "ms")
            yield Figure(NAME, f"{kind} {name} beside a collection", during, "ms")
            aim = "at most 1.5" if name == "p99" else ""
            yield Figure(NAME, f"{kind} {name} ratio", during / before, "times", aim)
    yield Figure(NAME, "operations measured beside a collection", sum(map(len, busy.values())), "operations")


def _percentile(values: list[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)]
