"""CloudEvents from outbox rows: complete, repeatable, and as their schemas say."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from model.events import record as types
from model.events.outbox import OutboxRow
from worker.events.message import cloud_events, routing_key

SCHEMAS = Path(__file__).resolve().parents[3] / "docs" / "reference" / "schemas"
REPOSITORY = {"namespace": "acme", "repository": "app", "repository_id": 7}


def every_type() -> set[str]:
    """All types that `model.events.record` names."""
    return {
        value for value in vars(types).values() if isinstance(value, str) and value.startswith("registry.")
    }


def row(type: str, data: dict[str, Any], subject: str = "acme/app") -> OutboxRow:
    return OutboxRow(1, str(uuid.UUID(int=5)), type, subject, json.dumps(data), 1_700_000_000_123)


def test_a_row_without_items_is_one_event_with_the_rows_own_id() -> None:
    (event,) = cloud_events(row(types.TAG_DELETED, {"tag": "v1"}, "acme/app:v1"))
    assert event["id"] == str(uuid.UUID(int=5))
    assert event["specversion"] == "1.0"
    assert event["type"] == "registry.tag.deleted"
    assert event["subject"] == "acme/app:v1"
    assert event["time"] == "2023-11-14T22:13:20.123+00:00"
    assert event["data"] == {"tag": "v1"}
    assert routing_key(event) == "tag.deleted"


def test_a_row_with_items_is_an_event_for_each_and_repeats_the_same_ids() -> None:
    data = {**REPOSITORY, "blobs": ["b1", "b2", "b3"], "items": [{"subject": "s1", "n": 1}, {"n": 2}]}
    first = list(cloud_events(row(types.MANIFEST_COLLECTED, data)))
    assert first == list(cloud_events(row(types.MANIFEST_COLLECTED, data)))
    assert len({event["id"] for event in first}) == 2
    assert [event["subject"] for event in first] == ["s1", "acme/app"]
    assert [event["data"]["n"] for event in first] == [1, 2]
    assert all(event["data"]["namespace"] == "acme" for event in first)
    dealt = [blob for event in first for blob in event["data"]["blobs"]]
    assert sorted(dealt) == ["b1", "b2", "b3"]
    assert all("items" not in event["data"] and "subject" not in event["data"] for event in first)


def test_a_row_with_no_items_is_no_event() -> None:
    assert list(cloud_events(row(types.BLOB_ERASED, {"items": []}))) == []


def test_every_type_has_a_schema_that_is_itself_valid() -> None:
    assert {f"registry.{path.stem}" for path in SCHEMAS.glob("*.json")} == every_type()
    for path in SCHEMAS.glob("*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))


@pytest.mark.parametrize("broken", [{}, {"data": {}}, {"specversion": "0.3"}])
def test_a_schema_refuses_what_is_not_an_event(broken: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / "tag.deleted.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)
