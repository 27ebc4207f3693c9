"""Webhooks: owed with the change, sent at least once, signed, and given up where an operator sees it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from model import registry
from model.db.connection import transaction
from model.db.queue_start import FRONT
from model.events import record as events
from model.events.deliveries import claim_deliveries, prune_dead, retry_dead
from model.events.webhooks import add_webhook, list_webhooks, remove_webhook
from model.gc.inspect.troubles import read_troubles
from model.gc.storage_identity import suspend_location
from model.retention.stored import store_rules
from tests.model.retention.retaining import DAY_MS, aged, alive
from tests.support.patience import PATIENCE_S
from tests.support.world import World
from tests.worker.events.receiving import KEY, SETTINGS, Endpoint, endpoint
from tests.worker.events.test_message import SCHEMAS
from worker import wiring
from worker.events.webhook import secret_of
from worker.jobs.retain import retain_repository
from worker.jobs.webhooks import SentDeliveries, deliver_webhooks


@pytest.fixture
def hook(world: World) -> Iterator[Endpoint]:
    """An endpoint that is the webhook `ops`, of tags and of events for operators."""
    with endpoint() as running:
        add_webhook("ops", running.url, ["tag.*", "blob.erased", "location.suspended"])
        yield running


def deliver(**settings: Any) -> SentDeliveries:
    return deliver_webhooks(wiring.in_process(replace(SETTINGS, **settings)), budget_s=PATIENCE_S)


def make_due(world: World) -> None:
    world.execute("UPDATE dredge_delivery SET due_ms = 0")


def owed(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT webhook, type, tries, dead_ms IS NOT NULL FROM dredge_delivery ORDER BY id")


def test_an_event_is_sent_signed_and_forgotten_and_the_outbox_keeps_it(world: World, hook: Endpoint) -> None:
    world.tag("v1")
    world.tag("bystander")
    registry.delete_tag("acme/app", "v1")
    assert owed(world) == [("ops", "registry.tag.deleted", 0, False)]
    assert deliver() == SentDeliveries(sent=1) and owed(world) == []
    (got,) = hook.received
    event = json.loads(got.body)
    assert (event["type"], event["subject"]) == ("registry.tag.deleted", "acme/app:v1")
    assert got.headers["content-type"] == "application/cloudevents+json"
    assert got.headers["webhook-id"] == event["id"]
    secret = base64.b64decode(secret_of(KEY, "ops").removeprefix("whsec_"))
    signed = f"{event['id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    expected = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert world.value("SELECT count(*) FROM dredge_event WHERE published_ms IS NULL") == 1


def test_a_warning_before_a_tag_ends_reaches_its_endpoint_once_and_the_end_follows(
    world: World, hook: Endpoint
) -> None:
    aged(world, "pr-1", 8)
    world.tag("bystander")
    store_rules("rules:\n- {name: old, action: expire, older_than: 10d, tags: 'pr-*'}\n", author="ann")
    settings = replace(SETTINGS, expiry_warning_days=3)
    box = wiring.in_process(settings)
    for _ in range(2):
        retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
        deliver()
    (warning,) = hook.received
    assert warning.headers["webhook-signature"].startswith("v1,")
    event = json.loads(warning.body)
    schema = json.loads((SCHEMAS / "tag.expiring.json").read_text())
    jsonschema.validate(event, schema, format_checker=jsonschema.FormatChecker())
    assert (event["subject"], event["data"]["rule"]) == ("acme/app:pr-1", "old")
    world.execute("UPDATE tag SET lifetime_start_ms = lifetime_start_ms - %s", (3 * DAY_MS,))
    retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
    deliver()
    assert [json.loads(got.body)["type"] for got in hook.received[1:]] == ["registry.tag.deleted"]
    assert alive(world) == {"bystander"} and owed(world) == []


def test_a_change_that_is_rolled_back_owes_nothing(world: World, hook: Endpoint) -> None:
    world.tag("v1")
    with pytest.raises(RuntimeError), transaction():
        registry.delete_tag("acme/app", "v1")
        raise RuntimeError
    assert owed(world) == [] and registry.get_tag("acme/app", "v1")


def test_what_other_programs_record_is_owed_as_well(world: World, hook: Endpoint) -> None:
    world.execute(
        "INSERT INTO dredge_event (event_id, type, subject, data, created_ms)"
        " VALUES ('e', 'registry.tag.deleted', 's', '{}', 5),"
        " ('f', 'registry.manifest.collected', 's', '{}', 5)"
    )
    assert owed(world) == [("ops", "registry.tag.deleted", 0, False)]


def test_many_erased_objects_are_one_batch_of_events(world: World, hook: Endpoint) -> None:
    items = [{"subject": f"d{n}", "digest": f"d{n}", "location": "eu", "bytes": n} for n in range(3)]
    with transaction():
        events.record(events.BLOB_ERASED, subject="objects", data={"items": items}, now_ms=world.now_ms)
    deliver()
    (got,) = hook.received
    assert got.headers["content-type"] == "application/cloudevents-batch+json"
    sent = json.loads(got.body)
    schema = json.loads((SCHEMAS / "blob.erased.json").read_text())
    for event in sent:
        jsonschema.validate(event, schema)
    assert [event["data"]["bytes"] for event in sent] == [0, 1, 2]


def test_each_webhook_gets_what_it_asked_for_under_a_secret_of_its_own(world: World, hook: Endpoint) -> None:
    with endpoint() as other:
        add_webhook("audit", other.url, ["*"])
        world.tag("v1")
        registry.delete_tag("acme/app", "v1")
        registry.delete_repository("acme/app")
        deliver()
        assert [json.loads(each.body)["type"] for each in hook.received] == ["registry.tag.deleted"]
        assert [json.loads(each.body)["type"] for each in other.received] == [
            "registry.tag.deleted",
            "registry.repository.deleted",
        ]
        assert hook.received[0].headers["webhook-signature"] != other.received[0].headers["webhook-signature"]


def test_a_refused_event_is_tried_again_under_the_same_id_and_then_given_up(
    world: World, hook: Endpoint
) -> None:
    hook.answers = [500, 302, 404]
    suspend_location("eu", address="/mnt/eu", problem="it is empty", now_ms=world.now_ms)
    for tries in (1, 2, 3):
        assert deliver() == SentDeliveries(failed=1)
        assert owed(world) == [("ops", "registry.location.suspended", tries, tries == 3)]
        assert deliver() == SentDeliveries()
        make_due(world)
    assert len(hook.received) == 3 and len({each.headers["webhook-id"] for each in hook.received}) == 1
    (trouble,) = read_troubles(limit=10)
    assert trouble.stage == "webhook" and trouble.next_try_ms is None and "status 404" in trouble.reason
    assert [(each.waiting, each.dead) for each in list_webhooks()] == [(0, 1)]
    assert deliver() == SentDeliveries()
    assert retry_dead("nobody") == 0 and retry_dead("ops") == 1
    assert deliver() == SentDeliveries(sent=1) and owed(world) == []


def test_an_endpoint_that_is_down_costs_one_request_a_turn_and_others_are_served(
    world: World, hook: Endpoint
) -> None:
    hook.answers = [503] * 9
    with endpoint() as healthy:
        add_webhook("healthy", healthy.url, ["tag.*"])
        for name in ("a", "b", "c"):
            world.tag(name)
            registry.delete_tag("acme/app", name)
        assert deliver() == SentDeliveries(sent=3, failed=1)
        assert len(hook.received) == 1 and len(healthy.received) == 3
        assert [tries for _, _, tries, _ in owed(world)] == [1, 0, 0]
        hook.answers = []
        make_due(world)
        assert deliver() == SentDeliveries(sent=3) and owed(world) == []


def test_a_claim_of_a_dead_worker_is_sent_again_and_a_late_settlement_takes_nothing(
    world: World, hook: Endpoint
) -> None:
    world.tag("v1")
    registry.delete_tag("acme/app", "v1")
    assert len(claim_deliveries({"ops": FRONT}, limit=10, lease_ms=3_600_000)) == 1
    assert deliver() == SentDeliveries()
    make_due(world)
    assert deliver() == SentDeliveries(sent=1) and len(hook.received) == 1


def test_without_a_key_nothing_is_sent_and_nothing_forgotten(world: World, hook: Endpoint) -> None:
    world.tag("v1")
    registry.delete_tag("acme/app", "v1")
    assert deliver(webhook_key="") == SentDeliveries()
    assert hook.received == [] and len(owed(world)) == 1


def test_a_webhook_goes_with_what_it_is_owed_and_no_other(world: World, hook: Endpoint) -> None:
    add_webhook("other", hook.url, ["tag.*"])
    world.tag("v1")
    registry.delete_tag("acme/app", "v1")
    assert remove_webhook("ops") and not remove_webhook("ops")
    assert [each.name for each in list_webhooks()] == ["other"]
    assert owed(world) == [("other", "registry.tag.deleted", 0, False)]


def test_what_was_given_up_is_forgotten_when_it_is_old_and_nothing_that_waits(
    world: World, hook: Endpoint
) -> None:
    for name in ("a", "b"):
        world.tag(name)
        registry.delete_tag("acme/app", name)
    world.execute("UPDATE dredge_delivery SET dead_ms = 5 WHERE subject = 'acme/app:a'")
    assert prune_dead(before_ms=5, limit=10) == 0 and prune_dead(before_ms=6, limit=10) == 1
    assert len(owed(world)) == 1
