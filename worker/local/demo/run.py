"""The demonstration, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model import namespace
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import RegistryError
from model.fsck.reachability import find_living_tags
from model.gc.inspect.status import Totals, read_waiting
from worker.fsck.run import Report, check_registry
from worker.jobs.context import JobContext
from worker.jobs.plan import all_due
from worker.local.demo.images import VERSIONS, make_layout
from worker.local.demo.processes import Processes
from worker.local.demo.verify import DemoResult, Expectation, expect, verify
from worker.local.sample import fill
from worker.local.sample.objects import ObjectWriter
from worker.local.sample.shape import Shape
from worker.transfer.layout_export import export_layout

REPOSITORY = "demo/shop"
# This namespace has no recovery window, so its deleted tags are garbage at once.
NO_WINDOW = 0
PATIENCE_S = 300


class Stuck(RegistryError):
    """The collection did not come to an end."""


class ShowStep(Protocol):
    """Shows a step and its progress: `with show_step("collecting", total) as advance: advance(1)`."""

    def __call__(
        self, title: str, total: int | None = None
    ) -> AbstractContextManager[Callable[..., Any]]: ...


@dataclass(frozen=True)
class Demo:
    """Runs on started servers, with a JobContext for them and the environment for child processes."""

    context: JobContext
    environment: Mapping[str, str]
    directory: Path
    show_step: ShowStep

    def fill(self, shape: Shape) -> None:
        """Write a sample registry, and import real images in another process."""
        stores = self.context.stores
        with (
            self.show_step("filling a registry", shape.manifests) as advance,
            ObjectWriter(stores[stores.upload]) as write,
        ):
            fill(shape, location=stores.upload, write=write, progress=lambda made: advance(completed=made))
        with self.show_step("importing real images"):
            namespace.ensure(REPOSITORY.partition("/")[0], window_s=NO_WINDOW)
            layout = make_layout(self.directory / "layout")
            self.dredge("import", str(layout), REPOSITORY)

    def delete_tags(self) -> Expectation:
        """Delete tags in another process, then record what must survive."""
        with self.show_step("deleting tags from another process"):
            for version in VERSIONS[:-1]:
                self.dredge("tag", "delete", f"{REPOSITORY}:{version}")
            return expect(self.context.policy)

    def collect(self, processes: Processes, *, kill: bool) -> None:
        """Wait until the workers have nothing left to do; with `kill`, kill the worker once meanwhile."""
        total = _backlog(self.context)
        end = time.monotonic() + PATIENCE_S
        with self.show_step("collecting", total) as advance:
            while left := _backlog(self.context):
                total = max(total, left)
                advance(completed=total - left, total=total)
                if kill and left < total:
                    processes.kill("worker")
                    processes.start("worker")
                    kill = False
                _check(processes, end)
                time.sleep(0.2)
            advance(completed=total)

    def verify(self, expected: Expectation) -> tuple[DemoResult, Report]:
        """Read and hash every surviving object, and check every invariant."""
        context = self.context
        with connection(), self.show_step("verifying", len(expected.survivors.objects)) as advance:
            verdict = verify(expected, context.stores, context.policy, progress=lambda: advance(1))
            report = check_registry(list(context.stores.items()), policy=context.policy, now_ms=now_ms())
        return verdict, report

    def export(self) -> int:
        """Write every surviving image as a layout, verified by its digests.  Returns the number of images."""
        stores = self.context.stores
        with connection():
            tags = find_living_tags(at_ms=now_ms())
            with self.show_step("exporting every surviving image", len(tags)) as advance:
                for tag in tags:
                    root = self.directory / "export" / str(tag.repository_id)
                    export_layout(stores, tag.repository_id, tag.digest, root, tag=tag.name)
                    advance(1)
        return len(tags)

    def dredge(self, *arguments: str) -> str:
        """Run the command line in another process.  Raises with its error message if it fails."""
        done = subprocess.run(
            [sys.executable, "-c", "from worker.cli import main; main()", *arguments],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RegistryError(f"dredge {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout


def _backlog(context: JobContext) -> int:
    """Count the work left: repositories with garbage or a running attempt, and rows of later stages."""
    with connection():
        waiting = read_waiting()
        return (
            len(all_due(context.policy))
            + waiting.attempted_repositories
            + waiting.manifest_candidates
            + waiting.blob_candidates
            + waiting.tombstones
            + waiting.unpublished_events
        )


def _check(processes: Processes, end: float) -> None:
    name = processes.ended()
    if name:
        raise Stuck(f"The {name} process ended by itself:\n{processes.tail(name)}")
    if time.monotonic() > end:
        raise Stuck(f"The collection is not done after {PATIENCE_S} s:\n{processes.tail('worker')}")


def as_json(verdict: DemoResult, report: Report, freed: Totals, seconds: float) -> str:
    """Return the facts of the last line of `dredge demo --json`."""
    violations = sum(finding.count for finding in report.violations)
    return json.dumps(
        {
            "repositories": freed.repositories,
            "tags": freed.tags,
            "manifests": freed.manifests,
            "blobs": freed.blobs,
            "objects": freed.objects,
            "bytes_freed": freed.bytes,
            "live_missing": verdict.live_missing,
            "garbage_left": verdict.garbage_left,
            "violations": violations,
            "seconds": round(seconds, 1),
        }
    )
