"""The HTTP API: what it shows, what it changes, and what it says when it cannot."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from model.controls.breaker import list_open
from model.controls.holds import list_holds
from model.gc.due.attempt import claim, record_failure
from model.gc.storage_identity import suspend_location
from model.policy import HOUR_MS
from model.registry import get_repository, get_tag, list_deleted_repositories
from tests.support.world import World
from tests.worker.web.conftest import Call
from tests.worker.web.filled import GONE_MS, dead, open_breaker


def test_status_shows_what_waits_what_fails_and_what_stops(world: World, call: Call) -> None:
    dead(world, "v1")
    world.tag("bystander")
    claim([world.repository_id])
    record_failure(world.repository_id, "the odd manifest")
    suspend_location("eu", address="/mnt/eu", problem="it is empty", now_ms=world.now_ms)
    world.insert(
        *("dredge_tombstone",),
        path="a",
        location="eu",
        size=7,
        created_ms=1,
        due_ms=9,
        tries=3,
        last_error="full",
    )
    with world.changes() as changes:
        answer = call("read", "GET", "/api/v1/status")
    assert answer.status_code == 200 and not changes
    found = answer.json()["overview"]
    assert found["failures"][0]["last_error"] == "the odd manifest"
    assert found["suspended"][0]["problem"] == "it is empty"
    assert [(t["stage"], t["subject"], t["reason"]) for t in found["troubles"]] == [
        ("erase", "eu: a", "full")
    ]
    assert answer.json()["erase_left_ms"] is None


def test_due_repositories_come_longest_waiting_first(world: World, call: Call) -> None:
    dead(world, "v1", for_ms=HOUR_MS)
    older = world.repository("older")
    world.tag("v1", repository=older, ended_ms=world.now_ms - GONE_MS - 5 * HOUR_MS)
    world.tag("alive", repository=world.repository("bystander"))
    found = call("read", "GET", "/api/v1/due").json()
    assert [each["repository"] for each in found["repositories"]] == ["acme/older", "acme/app"]
    assert found["has_more"] is False and found["repositories"][0]["why"]


def test_explain_says_why_a_manifest_is_there(world: World, call: Call) -> None:
    manifest = world.tag("latest").manifest
    found = call("read", "GET", f"/api/v1/explain?what=acme/app@{manifest.digest}").json()
    assert found[0]["kept"] and found[0]["reasons"] == ["has the living tag latest"]
    unknown = call("read", "GET", f"/api/v1/explain?what=acme/app@sha256:{'0' * 64}")
    assert unknown.status_code == 404 and "no row has the digest" in unknown.json()["detail"].lower()


def test_a_hold_is_set_shown_and_lifted_by_those_who_operate(world: World, call: Call) -> None:
    world.tag("bystander")
    asked = {"target": "acme", "reason": "legal hold 17"}
    assert call("read", "PUT", "/api/v1/holds", json=asked).status_code == 403
    assert call("delete", "PUT", "/api/v1/holds", json=asked).status_code == 403 and not list_holds()
    assert call("operate", "PUT", "/api/v1/holds", json=asked).status_code == 200
    (hold,) = call("read", "GET", "/api/v1/holds").json()
    assert (hold["target"], hold["reason"], hold["author"]) == ("acme", "legal hold 17", "operate")
    assert call("operate", "DELETE", "/api/v1/holds").status_code == 404 and list_holds()
    assert call("operate", "DELETE", "/api/v1/holds?target=acme").json() == [] and not list_holds()


def test_a_hold_that_ends_in_the_past_is_refused(world: World, call: Call) -> None:
    answer = call("operate", "PUT", "/api/v1/holds", json={"reason": "x", "until_ms": 5})
    assert answer.status_code == 400 and "in the past" in answer.json()["detail"] and not list_holds()


def test_a_breaker_is_approved_once(world: World, call: Call) -> None:
    open_breaker(world)
    assert call("read", "POST", "/api/v1/approve", json={"namespace": "acme"}).status_code == 403
    assert [each.namespace for each in list_open()] == ["acme"]
    assert call("operate", "POST", "/api/v1/approve", json={"namespace": "acme"}).json() == {"open": []}
    assert world.value("SELECT approved_by FROM dredge_breaker WHERE approved_ms > 0") == "operate"
    assert call("operate", "POST", "/api/v1/approve", json={"namespace": "acme"}).status_code == 404


def test_a_repository_is_deleted_listed_and_restored(world: World, call: Call) -> None:
    world.tag("v1")
    assert call("operate", "DELETE", "/api/v1/repository/acme/app").status_code == 403
    assert get_repository("acme/app")
    gone = call("delete", "DELETE", "/api/v1/repository/acme/app")
    assert (gone.status_code, gone.content) == (204, b"")
    assert call("delete", "DELETE", "/api/v1/repository/acme/app").status_code == 404
    (listed,) = call("read", "GET", "/api/v1/deleted/repositories").json()
    assert (listed["namespace"], listed["name"]) == ("acme", "app")
    back = call("operate", "POST", "/api/v1/deleted/repositories/restore", json={"repository": "acme/app"})
    assert back.status_code == 200 and get_tag("acme/app", "v1") and not list_deleted_repositories()
    again = call("operate", "POST", "/api/v1/deleted/repositories/restore", json={"repository": "acme/app"})
    assert again.status_code == 409


def test_a_namespace_is_deleted_listed_and_restored(world: World, call: Call) -> None:
    world.tag("v1")
    assert call("delete", "DELETE", "/api/v1/organization/acme").status_code == 204
    assert [each["name"] for each in call("read", "GET", "/api/v1/deleted/namespaces").json()] == ["acme"]
    asked = {"namespace": "acme", "new_name": "acme2"}
    assert call("operate", "POST", "/api/v1/deleted/namespaces/restore", json=asked).status_code == 200
    assert get_tag("acme2/app", "v1")


def test_a_policy_is_planned_without_being_saved(world: World, call: Call) -> None:
    for name in ("a", "b", "c"):
        world.tag(name)
    rules = "rules:\n  - name: few\n    action: expire\n    tags: '[ab]'\n"
    with world.changes() as changes:
        answer = call("read", "POST", "/api/v1/plan", json={"rules": rules, "repository": "acme/app"})
    assert answer.status_code == 200 and not changes
    (rule,) = answer.json()["by_rule"]
    assert (rule["rule"], rule["tags"], answer.json()["total"]["tags"]) == ("few", ["a", "b"], 2)
    wrong = call("read", "POST", "/api/v1/plan", json={"rules": "rules:\n  - nam: x\n"})
    assert wrong.status_code == 400 and "line 2" in wrong.json()["detail"]


def test_rules_are_set_listed_and_removed_and_a_mistake_sets_none(world: World, call: Call) -> None:
    world.tag("bystander")
    text = "rules:\n  - {name: a/b c, action: expire, tags: x}\n"
    assert call("operate", "PUT", "/api/v1/retention/rules", json={"rules": text}).status_code == 403
    (rule,) = call("delete", "PUT", "/api/v1/retention/rules", json={"rules": text}).json()
    assert (rule["name"], rule["problem"]) == ("a/b c", None) and "tags: x" in rule["rule"]
    with world.changes() as changes:
        wrong = call("delete", "PUT", "/api/v1/retention/rules", json={"rules": "rules:\n  - nam: x\n"})
        assert wrong.status_code == 400 and "line 2" in wrong.json()["detail"]
        assert call("read", "GET", "/api/v1/retention/rules").json() == [rule]
        for path in ("audit", "audit?repository=acme/app", "problems"):
            assert call("read", "GET", f"/api/v1/retention/{path}").json() == []
        assert call("delete", "DELETE", "/api/v1/retention/rules/other").status_code == 404
    assert not changes
    assert call("delete", "DELETE", "/api/v1/retention/rules/a%2Fb%20c").json() == []
    assert world.value("SELECT count(*) FROM dredge_retention_rule") == 0


def test_history_is_of_one_repository_or_all(world: World, call: Call) -> None:
    world.insert("dredge_collection", stage="erase", started_ms=1, finished_ms=2, objects=3, bytes=9)
    assert [step["objects"] for step in call("read", "GET", "/api/v1/history").json()] == [3]
    assert (
        call("read", "GET", f"/api/v1/history?repository=acme/{world.default_repository.name}").json() == []
    )
    assert call("read", "GET", "/api/v1/history?repository=acme/nobody").status_code == 404


def test_a_collection_cannot_be_enqueued_without_a_broker(world: World, call: Call) -> None:
    world.tag("bystander")
    answer = call("operate", "POST", "/api/v1/gc/acme/app")
    assert answer.status_code == 503 and "DREDGE_BROKER_URL" not in answer.text
    assert world.value("SELECT count(*) FROM dredge_due") == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nothing", 404), ("POST", "/api/v1/status", 405), ("GET", "/api/v1/due?limit=0", 400)],
)
def test_every_error_is_a_problem_in_one_line(call: Call, method: str, path: str, status: int) -> None:
    answer = call("read", method, path)
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["detail"] == body["error_message"]
    assert "\n" not in body["detail"] and body["title"] and body["type"].startswith("urn:")


def test_a_database_that_is_gone_is_503_and_names_no_server(
    world: World, client: TestClient, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.execute("ALTER TABLE dredge_hold RENAME TO gone")
    answer = call("read", "GET", "/api/v1/holds")
    assert answer.status_code == 500 and "gone" not in answer.text and "dredge_hold" not in answer.text
