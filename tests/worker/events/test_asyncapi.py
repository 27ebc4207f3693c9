"""docs/asyncapi.yaml: kept as it is made, and true of every request that a webhook receives."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from model import registry
from model.controls import breaker
from model.db.connection import transaction
from model.events import record as events
from model.events.webhooks import USUAL, add_webhook
from model.gc.collect import collect_batch
from model.gc.storage_identity import suspend_location
from model.policy import DEFAULT
from tests.support.asyncapi import asyncapi
from tests.support.pages import ASYNCAPI
from tests.support.patience import PATIENCE_S
from tests.support.world import World
from tests.worker.broker.running import ROOT
from tests.worker.events.receiving import KEY, SETTINGS, Received, endpoint
from worker import wiring
from worker.events.webhook import secret_of
from worker.jobs.webhooks import deliver_webhooks
from worker.web.openapi import as_yaml

DOCUMENT: dict[str, Any] = yaml.load(ASYNCAPI.read_text(), Loader=yaml.CSafeLoader)


def check(got: Received) -> str:
    """The request is what the document says; the type of its events."""
    found = json.loads(got.body)
    listed = found if isinstance(found, list) else [found]
    (kind,) = {event["type"] for event in listed}
    message = DOCUMENT["components"]["messages"][kind.removeprefix("registry.")]
    assert message["name"] == kind
    jsonschema.validate(got.headers, DOCUMENT["components"]["schemas"]["headers"])
    single, many = message["payload"]["oneOf"]
    assert many == {"type": "array", "items": single}
    schema = json.loads(Path(ASYNCAPI.parent / single["$ref"]).read_text())
    for event in listed:
        jsonschema.validate(event, schema, format_checker=jsonschema.FormatChecker())
    return str(kind)


def test_the_document_is_made_of_the_schemas_and_its_references_lead_somewhere() -> None:
    assert ASYNCAPI.read_text() == as_yaml(asyncapi()), "run `make docs`"
    for reference in re.findall(r"\$ref: '?([^'\n]+)", ASYNCAPI.read_text()):
        if not reference.startswith("#"):
            assert (ASYNCAPI.parent / reference).exists()
            continue
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_request_of_a_life_is_what_the_document_says(world: World) -> None:
    with endpoint() as hook:
        add_webhook("all", hook.url, ["*"])
        world.tag("v1", manifest=world.tag("bystander").manifest)
        registry.delete_tag("acme/app", "v1")
        registry.delete_repository("acme/app")
        prompt = world.repository("prompt", namespace=world.namespace("now", window_s=0))
        world.tag("old", repository=prompt, ended_ms=1000)
        collect_batch(int(prompt), policy=DEFAULT, limit=100)
        suspend_location("eu", address="/mnt/eu", problem="it is empty", now_ms=world.now_ms)
        item = {"subject": "d", "digest": "d", "location": "eu", "bytes": 1}
        with transaction():
            events.record(events.BLOB_ERASED, subject="objects", data={"items": [item]}, now_ms=world.now_ms)
        deliver_webhooks(wiring.in_process(SETTINGS), budget_s=PATIENCE_S)
        assert {check(got) for got in hook.received} == {
            "registry.tag.deleted",
            "registry.repository.deleted",
            "registry.manifest.collected",
            "registry.repository.collected",
            "registry.location.suspended",
            "registry.blob.erased",
        }


def test_a_breaker_that_opens_is_told_once(world: World) -> None:
    with endpoint() as hook:
        add_webhook("ops", hook.url)
        for number in range(4):
            world.tag(f"t{number}", ended_ms=world.now_ms - 14 * 86_400_000 - 1000)
        policy = replace(DEFAULT, breaker_manifests=2)
        for _ in range(2):
            breaker.check([world.namespace_id], policy=policy)
        deliver_webhooks(wiring.in_process(SETTINGS), budget_s=PATIENCE_S)
        opened = breaker.list_open()
        assert opened and {check(got) for got in hook.received} == {events.BREAKER_OPENED}
        told = sorted(json.loads(got.body)["subject"] for got in hook.received)
        assert told == sorted(each.namespace for each in opened)


def test_what_operators_want_to_hear_of_has_a_message() -> None:
    assert {kind.removeprefix("registry.") for kind in USUAL} <= set(DOCUMENT["components"]["messages"])


def test_the_documented_check_knows_a_genuine_request(world: World) -> None:
    page = (ROOT / "docs" / "how-to" / "webhooks.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    with endpoint() as hook:
        add_webhook("ops", hook.url)
        suspend_location("eu", address="/mnt/eu", problem="it is empty", now_ms=world.now_ms)
        deliver_webhooks(wiring.in_process(SETTINGS), budget_s=PATIENCE_S)
        (got,) = hook.received
    secret = secret_of(KEY, "ops")
    assert names["is_genuine"](secret, got.headers, got.body)
    assert not names["is_genuine"](secret, got.headers, got.body + b" ")
    assert not names["is_genuine"](secret_of(KEY, "other"), got.headers, got.body)
    old = got.headers | {"webhook-timestamp": str(int(time.time()) - 1000)}
    assert not names["is_genuine"](secret, old, got.body)
