"""`dredge pause` and `dredge resume`, and what other commands do under a hold."""

from __future__ import annotations

import pytest

from model.policy import HOUR_MS
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage


def test_a_collection_under_a_hold_removes_nothing_says_why_and_fails(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    garbage.image("doomed", dead_for_ms=HOUR_MS)
    assert dredge("pause", "--reason", "moving storage").out == "the whole registry is on hold\n"
    with world.changes() as changes:
        said = dredge("collect", "--all")
    assert not changes and garbage.objects() == 2
    assert said.code == 1 and said.err.count("\n") == 1
    assert "nothing was removed: the registry is on hold" in said.err and "moving storage" in said.err
    assert dredge("resume").out == "the whole registry is no longer on hold\n"
    assert dredge("collect", "--all").code == 0 and garbage.objects() == 1


def test_a_collection_goes_on_elsewhere_and_ignores_a_hold_only_when_told(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    free = world.repository("free", namespace=world.namespace("globex"))
    garbage.image("held", dead_for_ms=HOUR_MS)
    garbage.image("free", repository=free, dead_for_ms=HOUR_MS)
    said = dredge("pause", "acme", "--reason", "legal", "--until", "3d", "--json")
    assert said.lines[0]["target"] == "acme" and said.lines[0]["until_ms"] > world.now_ms + 71 * HOUR_MS
    said = dredge("collect", "--all", "--json")
    assert said.code == 1 and said.lines[0]["tags"] == 1 and garbage.objects() == 2
    assert "skipped 1 of 2 repositories: the namespace is on hold" in said.err
    alone = dredge("collect", "acme/app")
    assert alone.code == 1 and alone.out.startswith("removed: 0 tags") and garbage.objects() == 2
    told = dredge("collect", "acme/app", "--ignore-hold")
    assert told.code == 0 and told.out.startswith("removed: 1 tag ") and garbage.objects() == 1


def test_status_shows_every_hold(dredge: Dredge, garbage: Garbage) -> None:
    assert "on hold" not in dredge("status").out
    dredge("pause", "acme/app", "--reason", "ticket 9", "--until", "2100-01-01T00:00:00Z")
    text = dredge("status").out
    assert "acme/app" in text and "ticket 9" in text and "2100-01-01 00:00:00 UTC" in text
    (hold,) = dredge("status", "--json").lines[0]["holds"]
    assert (hold["target"], hold["reason"]) == ("acme/app", "ticket 9")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("pause", "nobody", "--reason", "x"), 1, "There is no namespace nobody"),
        (("pause", "acme/nothing", "--reason", "x"), 1, "There is no repository acme/nothing"),
        (("pause", "acme"), 2, "--reason"),
        (("pause", "--reason", "x", "--until", "soon"), 2, "'soon' is not a time"),
        (("pause", "--reason", "x", "--until", "2001-01-01"), 2, "has passed"),
        (("resume", "acme"), 1, "acme is not on hold; on hold: acme/app"),
    ],
)
def test_a_mistake_is_one_line_and_sets_no_hold(
    world: World, dredge: Dredge, garbage: Garbage, arguments: tuple[str, ...], code: int, message: str
) -> None:
    dredge("pause", "acme/app", "--reason", "y")
    with world.changes() as changes:
        said = dredge(*arguments)
    assert not changes and said.code == code and message in said.err


def test_an_open_breaker_is_seen_and_approved(world: World, dredge: Dredge, garbage: Garbage) -> None:
    for n in range(3):
        garbage.image(f"old{n}", dead_for_ms=1)
    said = dredge("collect", "--all", BREAKER_MANIFESTS="3")
    assert said.code == 1 and garbage.objects() == 4
    assert "the namespace's breaker is open: 3 of 4 manifests become due within an hour" in said.err
    status = dredge("status").out
    assert "breaker open\t" in status and "3 of 4 manifests become due" in status
    assert dredge("status", "--json").lines[0]["breakers"][0]["namespace"] == "acme"
    assert "breaker of the whole registry is not open; open: acme" in dredge("approve").err
    assert dredge("approve", "acme").out == "approved: removals of acme go on\n"
    assert dredge("collect", "--all", BREAKER_MANIFESTS="3").code == 0 and garbage.objects() == 1
