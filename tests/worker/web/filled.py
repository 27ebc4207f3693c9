"""A registry with some of everything that the status page shows."""

from __future__ import annotations

from model import registry
from model.controls import limits
from model.controls.holds import set_hold
from model.gc.due.attempt import claim, record_failure
from model.gc.storage_identity import suspend_location
from model.policy import HOUR_MS
from tests.support.world import WEEK_S, Row, World

GONE_MS = 2 * WEEK_S * 1000


def dead(
    world: World,
    name: str,
    *,
    for_ms: int = HOUR_MS,
    repository: Row | None = None,
    manifest: Row | None = None,
) -> Row:
    """A tag past its window for so long."""
    return world.tag(name, repository=repository, manifest=manifest, ended_ms=world.now_ms - GONE_MS - for_ms)


def open_breaker(world: World) -> None:
    """The breaker of the default namespace is open."""
    world.execute(
        "INSERT INTO dredge_breaker (namespace_id, window_ms, opened_ms, reason, due_manifests, manifests)"
        " VALUES (%s, %s, %s, '90 of 100 manifests become due within an hour', 90, 100)",
        (world.namespace_id, GONE_MS, world.now_ms),
    )


def failing_store(world: World) -> None:
    """A location that is suspended, and objects there that could not be erased."""
    suspend_location(
        "eu_west",
        address="/mnt/eu",
        problem="it does not show its identity: it is empty, not mounted, or another place than before",
        now_ms=world.now_ms - 3 * HOUR_MS,
    )
    for number in range(3):
        path = f"sha256/ab/{number:064x}"
        failing = {"tries": number + 2, "last_error": "the store did not answer within 30 s"}
        due_ms, created_ms = world.now_ms + HOUR_MS, world.now_ms - 9 * HOUR_MS
        world.insert(
            "dredge_tombstone",
            path=path,
            location="eu_west",
            size=5 << 20,
            created_ms=created_ms,
            due_ms=due_ms,
            **failing,
        )


def fill(world: World) -> None:
    """Backlog, failures, holds, an open breaker, a failing store, deletions, and a month of history."""
    for number in range(12):
        where = world.repository(f"service-{number}")
        ended_ms = world.now_ms - GONE_MS - (number + 1) * HOUR_MS
        world.tag("v1", repository=where, ended_ms=ended_ms)
        world.tag("latest", repository=where)
    world.tag("v1", ended_ms=world.now_ms - HOUR_MS)
    world.tag("latest")
    for _ in range(3):
        claim([world.repository_id])
        record_failure(world.repository_id, "the manifest sha256:0123 has two subjects")
    world.execute("UPDATE manifest SET layers_compressed_size = 3 << 20")
    gone = world.repository("gone", namespace=world.namespace("former"))
    registry.delete_repository(f"former/{gone.name}")
    world.namespace("closed")
    registry.delete_namespace("closed")
    set_hold(namespace_id=int(world.namespace("customer")), reason="legal hold 17", author="anna@ops1")
    open_breaker(world)
    failing_store(world)
    limits.charge("rows", 90, per_s=1)
    limits.close("health", for_ms=10_000)
    world.execute(
        "INSERT INTO dredge_poison (stage, key, created_ms, due_ms, tries, last_error)"
        " VALUES ('review', 'blob 17', 0, %s, 4, 'the blob has two rows')",
        (world.now_ms + HOUR_MS,),
    )
    history(world)


def history(world: World) -> None:
    """Collections and erasing on most days of a month."""
    for day in reversed(range(30)):
        if day % 7 == 5:
            continue
        at_ms = world.now_ms - day * 24 * HOUR_MS
        times = {"started_ms": at_ms - 4000, "finished_ms": at_ms}
        gone = {"tags": 20 + day, "manifests": 30 + day, "rows": 300}
        collect = {"stage": "collect", "repository_id": world.repository_id, **gone}
        erase = {"stage": "erase", "objects": 90 + day, "bytes": (day * 37 % 11 + 1) << 30}
        review = {
            "stage": "review",
            "repository_id": world.repository_id,
            "blobs": 90,
            "bytes": (day + 1) << 30,
        }
        for step in (collect, review, erase):
            world.insert("dredge_collection", **times, **step)
