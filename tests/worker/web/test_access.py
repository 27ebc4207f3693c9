"""Who may call: tokens, scopes, wrong tokens, and a page of another site."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from model.controls.holds import list_holds
from tests.support.world import World
from tests.worker.web.conftest import TOKENS, bearer, secret
from worker.api_token import find_token, hash_of, make_token, parse_tokens
from worker.web.access import WRONG_TOKENS, WRONG_TOKENS_S, WrongTokens


def test_nothing_is_shown_or_changed_without_a_token(world: World, client: TestClient) -> None:
    for method, path in (("GET", "/api/v1/status"), ("PUT", "/api/v1/holds"), ("DELETE", "/api/v1/holds")):
        answer = client.request(method, path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    assert not list_holds()


def test_wrong_tokens_are_limited_and_the_right_one_as_well_from_there(
    world: World, client: TestClient
) -> None:
    wrong = {"Authorization": "Bearer dredge_wrong"}
    told = [client.get("/api/v1/holds", headers=wrong).status_code for _ in range(WRONG_TOKENS + 1)]
    assert told == [401] * WRONG_TOKENS + [429]
    refused = client.get("/api/v1/holds", headers=bearer("read"))
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0


def test_an_address_may_try_again_after_a_minute_and_others_at_once() -> None:
    now = [1000.0]
    wrong = WrongTokens(lambda: now[0])
    for _ in range(WRONG_TOKENS):
        wrong.add("10.0.0.1")
    assert wrong.wait_s("10.0.0.1") == WRONG_TOKENS_S and wrong.wait_s("10.0.0.2") == 0
    now[0] += WRONG_TOKENS_S
    assert wrong.wait_s("10.0.0.1") == 0


def test_without_tokens_everything_is_shown_on_loopback_and_nothing_changed(
    world: World, without_tokens: TestClient
) -> None:
    assert without_tokens.get("/api/v1/status").status_code == 200
    refused = without_tokens.put("/api/v1/holds", json={"reason": "x"})
    assert refused.status_code == 403 and "DREDGE_WEB_TOKENS" in refused.json()["detail"]
    assert not list_holds()


def test_without_tokens_another_sites_name_for_this_host_reads_nothing(
    world: World, without_tokens: TestClient
) -> None:
    answer = without_tokens.get("/api/v1/status", headers={"Host": "rebound.example.com"})
    assert answer.status_code == 400 and "overview" not in answer.text


def test_a_token_is_kept_as_its_hash_and_shown_nowhere() -> None:
    text, token = make_token("ci", ["read", "delete"])
    assert parse_tokens(f"# of the pipeline\n{token}\n") == (token,)
    assert find_token([*TOKENS, token], text) == token and find_token(TOKENS, text) is None
    assert text not in f"{token} {token!r}" and hash_of(text) not in repr(token)


@pytest.mark.parametrize(
    "wrong", ["ci:read", "ci:root:" + "0" * 64, "ci:read:short", "a:read:{0},a:read:{0}".format("0" * 64)]
)
def test_a_malformed_token_is_refused_without_its_text(wrong: str) -> None:
    with pytest.raises(ValueError, match="entry") as caught:
        parse_tokens(wrong)
    assert wrong not in str(caught.value)


def test_every_answer_forbids_scripts_frames_and_caches(client: TestClient) -> None:
    headers = client.get("/api/v1/status", headers=bearer("read")).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert secret("read") not in str(headers)
