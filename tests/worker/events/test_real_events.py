"""Whatever the registry and the collector write into the outbox is an event that its schema accepts."""

from __future__ import annotations

import json

import jsonschema

from model import registry
from model.events import outbox
from model.gc.collect import collect_batch
from model.policy import DEFAULT
from tests.support.world import World
from tests.worker.events.test_message import SCHEMAS
from worker.events.message import CloudEvent, cloud_events, routing_key


def written() -> list[CloudEvent]:
    """Every event in the outbox, checked against its schema."""
    rows = outbox.find_unpublished(limit=1000, max_bytes=10**8)
    found = [event for row in rows for event in cloud_events(row)]
    for event in found:
        schema = json.loads((SCHEMAS / f"{routing_key(event)}.json").read_text())
        jsonschema.validate(event, schema, format_checker=jsonschema.FormatChecker())
    return found


def test_a_tags_life_is_told_in_order(world: World) -> None:
    first, second = world.manifest(), world.manifest()
    registry.retarget_tag("acme/app", "v1", first.digest)
    registry.retarget_tag("acme/app", "v1", second.digest)
    registry.delete_tag("acme/app", "v1")
    registry.restore_tag("acme/app", "v1", first.digest)
    registry.change_tag_expiration("acme/app", "v1", world.now_ms + 86_400_000)
    registry.delete_tag_permanently("acme/app", "v1", first.digest, is_alive=True)
    assert [routing_key(event) for event in written()] == [
        "tag.created",
        "tag.retargeted",
        "tag.deleted",
        "tag.restored",
        "tag.expiry_changed",
        "tag.permanently_deleted",
    ]


def test_what_a_collection_removes_is_told_once_it_is_gone(world: World) -> None:
    prompt = world.repository("prompt", namespace=world.namespace("now", window_s=0))
    doomed = world.tag("old", repository=prompt, ended_ms=1000)
    world.tag("bystander")
    collect_batch(int(prompt), policy=DEFAULT, limit=100)
    told = {routing_key(event): event for event in written()}
    assert told["manifest.collected"]["subject"] == f"now/prompt@{doomed.manifest.digest}"
    assert told["repository.collected"]["data"]["tags"] == 1
