"""Quay's endpoints in front of the façade: its paths, its status codes, and what they do to the rows."""

from __future__ import annotations

from model.policy import HOUR_MS
from model.registry import get_tag, list_tag_history
from tests.support.world import World
from tests.worker.web.conftest import Call

TAG = "/api/v1/repository/acme/app/tag"


def test_a_tag_is_deleted_once_and_can_be_restored(world: World, call: Call) -> None:
    digest = world.tag("v1").manifest.digest
    world.tag("bystander")
    assert call("operate", "DELETE", f"{TAG}/v1").status_code == 403 and get_tag("acme/app", "v1")
    gone = call("delete", "DELETE", f"{TAG}/v1")
    assert (gone.status_code, gone.content, get_tag("acme/app", "v1")) == (204, b"", None)
    assert call("delete", "DELETE", f"{TAG}/v1").status_code == 404
    back = call("operate", "POST", f"{TAG}/v1/restore", json={"manifest_digest": digest})
    assert (back.status_code, back.json()) == (200, {})
    restored = get_tag("acme/app", "v1")
    assert restored is not None and restored.digest == digest and get_tag("acme/app", "bystander")


def test_a_tag_is_expired_beyond_restoring(world: World, call: Call) -> None:
    manifest = world.tag("v1", ended_ms=world.now_ms - HOUR_MS).manifest
    world.tag("bystander")
    asked = {"manifest_digest": manifest.digest, "include_submanifests": True, "is_alive": False}
    assert call("delete", "POST", f"{TAG}/v1/expire", json=asked).status_code == 200
    assert [each.tag.name for each in list_tag_history("acme/app").lifetimes] == ["bystander"]
    assert call("delete", "POST", f"{TAG}/v1/expire", json=asked).status_code == 404
    restore = {"manifest_digest": manifest.digest}
    assert call("operate", "POST", f"{TAG}/v1/restore", json=restore).status_code == 404


def test_an_immutable_tag_is_a_conflict_and_stays(world: World, call: Call) -> None:
    world.tag("v1", immutable=True)
    answer = call("delete", "DELETE", f"{TAG}/v1")
    assert answer.status_code == 409 and "immutable" in answer.json()["error_message"]
    assert call("delete", "DELETE", "/v1/repositories/acme/app/tags/v1").status_code == 409
    assert get_tag("acme/app", "v1")


def test_the_first_registry_api_deletes_as_it_does_at_quay(world: World, call: Call) -> None:
    world.tag("v1")
    path = "/v1/repositories/acme/app/tags/v1"
    assert call("read", "DELETE", path).status_code == 403 and get_tag("acme/app", "v1")
    gone = call("delete", "DELETE", path)
    assert (gone.status_code, gone.text, get_tag("acme/app", "v1")) == (200, "Deleted", None)
    assert call("delete", "DELETE", path).status_code == 404
    assert call("delete", "DELETE", "/v1/repositories/acme/nobody/tags/v1").status_code == 403


def test_tags_are_listed_in_pages_with_their_past(world: World, call: Call) -> None:
    index = world.manifest(children=[world.manifest(blobs=[world.blob(70)])])
    world.tag("old", start_ms=1000, ended_ms=world.now_ms - HOUR_MS)
    world.tag("index", manifest=index, start_ms=2000)
    world.tag("new", manifest=world.manifest(blobs=[world.blob(70)]), start_ms=3000)
    first = call("read", "GET", f"{TAG}/?limit=2").json()
    assert [(t["name"], t["is_manifest_list"]) for t in first["tags"]] == [("new", False), ("index", True)]
    assert first["has_additional"] and first["tags"][0]["size"] == 70
    assert first["tags"][0]["start_ts"] == 3 and first["tags"][0]["end_ts"] is None
    second = call("read", "GET", f"{TAG}/?limit=2&page=2").json()
    assert [t["name"] for t in second["tags"]] == ["old"] and not second["has_additional"]
    assert "-0000" in second["tags"][0]["expiration"]
    alive = call("read", "GET", f"{TAG}/?onlyActiveTags=true").json()["tags"]
    assert [t["name"] for t in alive] == ["new", "index"]
    named = call("read", "GET", f"{TAG}/?specificTag=old").json()["tags"]
    assert [t["name"] for t in named] == ["old"]


def test_a_repository_may_have_slashes_in_its_name(world: World, call: Call) -> None:
    world.tag("v1", repository=world.repository("team/app"))
    assert call("delete", "DELETE", "/api/v1/repository/acme/team/app/tag/v1").status_code == 204
    assert get_tag("acme/team/app", "v1") is None


def test_what_is_not_there_or_malformed_is_said_so(world: World, call: Call) -> None:
    world.tag("v1")
    assert call("delete", "DELETE", "/api/v1/repository/acme/nobody/tag/v1").status_code == 404
    assert call("delete", "DELETE", f"{TAG}/-bad").status_code == 400
    assert call("operate", "POST", f"{TAG}/v1/restore", json={}).status_code == 400
    assert call("operate", "POST", f"{TAG}/v1/restore", json={"manifest_digest": "x"}).status_code == 400
    assert get_tag("acme/app", "v1")
