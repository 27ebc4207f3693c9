"""The status page: what it shows, who may press its buttons, and what a forged form does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from model import registry
from model.controls.breaker import list_open
from model.controls.holds import list_holds, set_hold
from model.gc.due.attempt import claim, record_failure
from model.gc.inspect.removable import Removable, read_removable
from model.policy import DEFAULT, HOUR_MS
from tests.support.world import World
from tests.worker.web.conftest import TOKENS, secret
from tests.worker.web.filled import dead, fill, open_breaker
from worker.api_token import ApiToken, Scope, make_token
from worker.web.access import WRONG_TOKENS, Access
from worker.web.sessions import LIFE_S, Sessions, is_same_origin

ALL_SECRET, ALL = make_token("anna", ["read", "operate", "delete"])


@pytest.fixture
def settings(settings: Any) -> Any:
    return replace(settings, web_tokens=(*TOKENS, ALL))


def sign_in(client: TestClient, text: str = ALL_SECRET, **more: str) -> Any:
    return client.post("/login", data={"token": text, **more}, follow_redirects=False)


def form_token(client: TestClient, path: str = "/") -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', client.get(path).text)
    assert found
    return found[1]


def test_the_page_shows_all_that_stops_waits_and_fails(world: World, client: TestClient) -> None:
    fill(world)
    sign_in(client)
    with world.changes() as changes:
        text = client.get("/").text
    assert not changes
    for wanted in (
        "90 of 100 manifests become due within an hour",
        "eu_west",
        "legal hold 17",
        "the manifest sha256:0123 has two subjects",
        "the store did not answer within 30 s",
        "the blob has two rows",
        "acme/service-11",
        "143.0 GiB in 30 days",
        "always open",
        "Limits of all workers",
        "most bytes first",
    ):
        assert wanted in text


def test_a_page_without_a_session_leads_to_the_login_and_back(world: World, client: TestClient) -> None:
    refused = client.get("/deleted", follow_redirects=False)
    assert (refused.status_code, refused.headers["location"]) == (303, "/login?next=%2Fdeleted")
    answer = sign_in(client, next="/deleted")
    assert (answer.status_code, answer.headers["location"]) == (303, "/deleted")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-dredge=") and "domain" not in cookie
    assert all(word in cookie for word in ("secure", "httponly", "samesite=strict", "path=/"))
    assert client.get("/deleted").status_code == 200


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "x"])
def test_the_login_leads_to_no_other_site(world: World, client: TestClient, elsewhere: str) -> None:
    assert sign_in(client, next=elsewhere).headers["location"] == "/"


def test_wrong_tokens_are_limited_at_the_login_too(world: World, client: TestClient) -> None:
    told = [sign_in(client, "wrong").status_code for _ in range(WRONG_TOKENS + 1)]
    assert told == [401] * WRONG_TOKENS + [429]


def test_a_form_without_its_sessions_token_changes_nothing(world: World, client: TestClient) -> None:
    open_breaker(world)
    assert client.post("/actions/approve", data={"namespace": "acme"}).status_code in (303, 200)
    sign_in(client)
    for forged in ({}, {"form_token": "0" * 64}):
        refused = client.post("/actions/approve", data={"namespace": "acme", **forged})
        assert refused.status_code == 403 and "another session" in refused.text
    token = form_token(client)
    foreign = client.post(
        "/actions/approve",
        data={"namespace": "acme", "form_token": token},
        headers={"Origin": "https://evil.example"},
    )
    assert foreign.status_code == 403 and len(list_open()) == 1
    assert client.get("/actions/approve").status_code == 405
    done = client.post("/actions/approve", data={"namespace": "acme", "form_token": token})
    assert done.status_code == 200 and "The breaker is closed" in done.text and not list_open()
    assert world.value("SELECT approved_by FROM dredge_breaker WHERE approved_ms > 0") == "anna"


def test_a_hold_is_set_and_lifted_by_the_buttons(world: World, client: TestClient) -> None:
    world.tag("bystander")
    sign_in(client)
    token = form_token(client)
    asked = {"target": "acme/app", "reason": "<b>legal</b>", "hours": "5", "form_token": token}
    text = client.post("/actions/pause", data=asked).text
    assert "The hold is set" in text and "&lt;b&gt;legal&lt;/b&gt;" in text and "<b>legal" not in text
    (hold,) = list_holds()
    assert hold.author == "anna" and hold.until_ms is not None
    assert 4 * HOUR_MS < hold.until_ms - hold.created_ms <= 5 * HOUR_MS
    for wrong in ({"reason": " "}, {"reason": "x", "hours": "-1"}, {"reason": "x", "target": "nobody"}):
        assert client.post("/actions/pause", data={"form_token": token, **wrong}).status_code in (400, 404)
    ids = {"namespace_id": str(hold.namespace_id), "repository_id": str(hold.repository_id)}
    assert "The hold is lifted" in client.post("/actions/resume", data={"form_token": token, **ids}).text
    assert not list_holds()
    assert client.post("/actions/resume", data={"form_token": token, **ids}).status_code == 404


@pytest.mark.parametrize("scope", ["read", "delete"])
def test_who_may_not_operate_has_no_buttons_and_cannot_press_them(
    world: World, client: TestClient, scope: Scope
) -> None:
    open_breaker(world)
    set_hold(namespace_id=world.namespace_id, reason="x", author="y")
    sign_in(client, secret(scope))
    shown = client.get("/")
    assert shown.status_code == (200 if scope == "read" else 403) and "form_token" not in shown.text
    assert client.post("/actions/approve", data={"namespace": "acme"}).status_code == 403
    assert list_holds() and list_open()


def test_a_tag_and_a_repository_are_restored_by_the_buttons(world: World, client: TestClient) -> None:
    gone = world.tag("v1", ended_ms=world.now_ms - HOUR_MS)
    sign_in(client)
    text = client.get("/look?what=acme/app").text
    assert "v1" in text and "Restore" in text
    token = form_token(client, "/look?what=acme/app")
    asked = {"repository": "acme/app", "tag": "v1", "digest": gone.manifest.digest, "form_token": token}
    assert "Restored." in client.post("/actions/restore-tag", data=asked).text
    assert registry.get_tag("acme/app", "v1")
    registry.delete_repository("acme/app")
    assert "acme/app" in client.get("/deleted").text
    back = client.post("/actions/restore-repository", data={"repository": "acme/app", "form_token": token})
    assert "Restored." in back.text and registry.get_tag("acme/app", "v1")


def test_one_box_explains_tags_digests_and_repositories(world: World, client: TestClient) -> None:
    manifest = world.tag("v1").manifest
    sign_in(client)
    assert "no retention rule" in client.get("/look?what=acme/app:v1").text
    assert "has the living tag v1" in client.get(f"/look?what=acme/app@{manifest.digest}").text
    assert "<h1>acme/app</h1>" in client.get("/look?what= acme/app ").text
    wrong = client.get("/look?what=acme/ap")
    assert wrong.status_code == 404 and "did you mean acme/app?" in wrong.text
    assert wrong.headers["content-type"].startswith("text/html")
    # What was typed is there to be corrected.
    assert 'value="acme/ap"' in wrong.text and 'href="/deleted"' in wrong.text


def test_a_repositorys_page_says_what_stops_its_collection(world: World, client: TestClient) -> None:
    world.repository("other", namespace=world.namespace("globex"))
    open_breaker(world)
    set_hold(repository_id=world.repository_id, reason="legal hold 17", author="anna")
    claim([world.repository_id])
    record_failure(world.repository_id, "the manifest sha256:0123 has two subjects")
    sign_in(client)
    text = client.get("/look?what=acme/app").text
    for stop in (
        "acme/app is on hold: legal hold 17",
        "the breaker of acme is open: 90 of 100 manifests become due within an hour",
        "failed 1 time: the manifest sha256:0123 has two subjects",
    ):
        assert f"<strong>Not collected now:</strong> {stop}" in text
    assert "Not collected now" not in client.get("/look?what=globex/other").text


def test_the_page_estimates_which_namespaces_could_free_the_most(world: World) -> None:
    small, large = world.repository("a"), world.repository("b", namespace=world.namespace("globex"))
    dead(world, "v1", repository=small)
    dead(world, "v1", repository=large)
    shared = dead(world, "v2", repository=large)
    dead(world, "v3", repository=large, manifest=shared.manifest)
    world.tag("alive", repository=large)
    world.execute("UPDATE manifest SET layers_compressed_size = 7")
    found = read_removable([int(small), int(large)], policy=DEFAULT, now_ms=world.now_ms, limit=9)
    assert found == [Removable("globex", 1, 2, 14), Removable("acme", 1, 1, 7)]


def test_signing_out_ends_the_session_of_the_browser(world: World, client: TestClient) -> None:
    sign_in(client)
    client.post("/logout")
    assert client.get("/", follow_redirects=False).status_code == 303


def test_without_tokens_the_page_is_shown_and_has_no_buttons(
    world: World, without_tokens: TestClient
) -> None:
    open_breaker(world)
    shown = without_tokens.get("/")
    assert shown.status_code == 200 and "<button class" not in shown.text
    assert without_tokens.post("/actions/approve", data={"namespace": "acme"}).status_code == 403
    assert list_open()


def test_a_session_ends_with_its_time_and_with_its_token() -> None:
    now = [1000.0]
    sessions = Sessions(Access((ALL,)), lambda: now[0])
    cookie = sessions.begin("anna")
    session = sessions.find(cookie)
    assert session is not None and session.caller.name == "anna" and session.form_token
    assert (
        sessions.find(cookie + "0") is None and sessions.find("") is None and sessions.find("e30=.x") is None
    )
    changed = Sessions(Access((ApiToken("anna", ALL.scopes, "0" * 64),)), lambda: now[0])
    changed._key = sessions._key
    assert changed.find(cookie) is None
    now[0] += LIFE_S
    assert sessions.find(cookie) is None


def test_a_browser_that_names_another_site_is_not_believed() -> None:
    assert is_same_origin(None, None, "host:1") and is_same_origin("https://host:1", "same-origin", "host:1")
    assert not is_same_origin("https://evil", None, "host:1") and not is_same_origin("null", None, "host:1")
    assert not is_same_origin(None, "cross-site", "host:1") and not is_same_origin(None, "same-site", "h")
