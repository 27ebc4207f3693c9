"""Deleting: what goes with a tag, and what stays."""

from __future__ import annotations

import json

import pytest

from model import registry
from model.errors import ImmutableTag
from model.policy import Policy
from tests.world import World


def event_types(world: World) -> list[str]:
    return [type for (type,) in world.rows("SELECT type FROM dredge_event ORDER BY id")]


def test_a_deleted_tag_ends_now_and_can_be_restored_for_two_weeks(world: World) -> None:
    tag = world.tag("v1")
    world.tag("v2")
    with world.changes() as changes:
        deleted = registry.delete_tag(world.repository_id, "v1")
    assert deleted is not None and deleted.id == tag and deleted.end_ms is not None
    assert changes.changed == {"tag": {tag: {"lifetime_end_ms": (None, deleted.end_ms)}}}
    assert set(changes.added) == {"dredge_event"} and not changes.removed
    assert abs(deleted.end_ms - world.now_ms) < 5_000
    (row,) = changes.added["dredge_event"].values()
    assert row["type"] == "registry.tag.deleted" and row["subject"] == "acme/app:v1"
    assert json.loads(row["data"]) == {
        "namespace": "acme",
        "repository": "app",
        "repository_id": world.repository_id,
        "tag": "v1",
        "digest": tag.manifest.digest,
        "hidden": False,
        "ended_ms": deleted.end_ms,
        "recoverable_until_ms": deleted.end_ms + 14 * 24 * 3_600_000,
    }
