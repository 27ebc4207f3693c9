"""`dredge webhook`: endpoints are added, listed, tried again and removed."""

from __future__ import annotations

from model.gc.storage_identity import suspend_location
from tests.support.world import World
from tests.worker.cli.conftest import Dredge
from worker.events.webhook import secret_of

KEY = "k" * 32


def test_a_webhook_is_added_listed_and_removed(world: World, dredge: Dredge) -> None:
    (made,) = dredge("webhook", "add", "ops", "https://h.example/x", "--json", WEBHOOK_KEY=KEY).lines
    assert made["secret"] == secret_of(KEY, "ops") and "registry.breaker.opened" in made["types"]
    suspend_location("eu", address="/mnt/eu", problem="it is empty", now_ms=1)
    (listed,) = dredge("webhook", "list", "--json").lines
    assert (listed["url"], listed["waiting"], listed["dead"]) == ("https://h.example/x", 1, 0)
    assert "ops" in dredge("webhook", "list").out
    assert dredge("webhook", "remove", "ops").code == 0 and dredge("webhook", "remove", "ops").code == 1
    assert dredge("webhook", "list", "--json").lines == []


def test_what_was_given_up_is_shown_and_tried_again(world: World, dredge: Dredge) -> None:
    dredge("webhook", "add", "ops", "https://h.example/x", WEBHOOK_KEY=KEY)
    suspend_location("eu", address="/mnt/eu", problem="it is empty", now_ms=1)
    world.execute("UPDATE dredge_delivery SET tries = 12, dead_ms = 5, last_error = 'status 500'")
    (status,) = dredge("status", "--json").lines
    assert "given up" in status["troubles"][0]["reason"] and status["troubles"][0]["next_try_ms"] is None
    assert "status 500" in dredge("status").out
    assert dredge("webhook", "retry", "ops", "--json").lines == [{"deliveries": 1}]
    assert world.rows("SELECT tries, dead_ms FROM dredge_delivery") == [(0, None)]


def test_mistakes_are_one_line(world: World, dredge: Dredge) -> None:
    for arguments in (("ops", "ftp://h/"), ("o p", "https://h/"), ("ops", "https://h/", "--type", "nothing")):
        said = dredge("webhook", "add", *arguments, WEBHOOK_KEY=KEY)
        assert said.code == 2 and said.err.count("\n") == 1
    without = dredge("webhook", "add", "ops", "https://h.example/")
    assert without.code == 1 and "DREDGE_WEBHOOK_KEY is not set" in without.err
    assert world.rows("SELECT * FROM dredge_webhook") == []


def test_an_address_to_which_nothing_will_be_sent_is_told_at_once(world: World, dredge: Dredge) -> None:
    plain = ("webhook", "add", "ops", "http://10.0.0.7/x")
    said = dredge(*plain, WEBHOOK_KEY=KEY)
    assert said.code == 0 and "DREDGE_WEBHOOK_NETWORKS, which is not set" in said.err
    assert dredge(*plain, WEBHOOK_KEY=KEY, WEBHOOK_NETWORKS="10.0.0.0/8").err == ""
    assert world.rows("SELECT url FROM dredge_webhook") == [("http://10.0.0.7/x",)]
