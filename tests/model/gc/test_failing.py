"""Work that fails again and again is told of once, whether it raises or its process dies."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from model import registry
from model.events.outbox import OutboxRow
from model.gc import poison
from model.gc.due.attempt import claim, record_failure
from model.gc.failing import NO_END, TOLD_AFTER
from model.purge import state
from tests.support.world import World
from tests.worker.events.test_message import SCHEMAS
from worker.events.message import cloud_events

SCHEMA = json.loads((SCHEMAS / "work.failing.json").read_text())


def told(world: World) -> list[tuple[str, Any]]:
    """Subject and data of every event of failing work, each as its schema says."""
    rows = world.rows(
        "SELECT id, event_id, type, subject, data, created_ms FROM dredge_event"
        " WHERE type = 'registry.work.failing' ORDER BY id"
    )
    events = [event for row in rows for event in cloud_events(OutboxRow(*row))]
    for event in events:
        jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
    return [(event["subject"], event["data"]) for event in events]


def test_a_repository_that_fails_five_times_is_told_of_once(world: World) -> None:
    other = int(world.repository("bystander"))
    for _ in range(TOLD_AFTER):
        assert told(world) == []
        claim([world.repository_id, other])
        record_failure(world.repository_id, "the manifest has two subjects")
        world.execute("UPDATE dredge_due SET attempts = 0 WHERE repository_id = %s", (other,))
    for _ in range(3):
        claim([world.repository_id])
        record_failure(world.repository_id, "the manifest has two subjects")
    data = {"stage": "collect", "tries": TOLD_AFTER, "reason": "the manifest has two subjects"}
    assert told(world) == [("acme/app", data)]


def test_a_repository_whose_process_always_dies_is_told_of_with_that_reason(world: World) -> None:
    for _ in range(TOLD_AFTER + 2):
        claim([world.repository_id])
    assert told(world) == [("acme/app", {"stage": "collect", "tries": TOLD_AFTER, "reason": NO_END})]


def test_a_set_aside_item_is_told_of_once_and_again_after_it_was_mended(world: World) -> None:
    def fail(times: int) -> None:
        for _ in range(times):
            poison.attempt("review", "blob 17")
            poison.record_error("review", "blob 17", "the blob has two rows")

    fail(TOLD_AFTER)
    assert told(world) == []
    fail(2)
    data = {"stage": "review", "tries": TOLD_AFTER, "reason": "the blob has two rows"}
    assert told(world) == [("blob 17", data)]
    poison.clear("review", "blob 17")
    fail(TOLD_AFTER + 1)
    assert told(world) == [("blob 17", data)] * 2


@pytest.mark.parametrize("stage", poison.EVENT_STAGES)
def test_an_event_that_fails_makes_no_other_event(world: World, stage: str) -> None:
    for _ in range(TOLD_AFTER + 2):
        poison.attempt(stage, "1")
    assert told(world) == [] and poison.count_poison() == {stage: 1}


def test_a_purge_that_fails_is_told_of_by_the_name_of_what_it_purges(world: World) -> None:
    world.tag("bystander")
    for _ in range(TOLD_AFTER + 1):
        state.record_failure("namespace", world.namespace_id, "an unknown table refers to it")
        state.record_failure("repository", 404, "an unknown table refers to it")
    registry.delete_repository("acme/app")
    for _ in range(TOLD_AFTER):
        state.record_failure("repository", world.repository_id, "an unknown table refers to it")
    data = {"stage": "purge", "tries": TOLD_AFTER, "reason": "an unknown table refers to it"}
    assert sorted(told(world)) == [("acme", data), ("acme/app", data), ("repository #404", data)]
