"""`dredge repository` and `dredge namespace`, and the purges of `dredge collect --all`."""

from __future__ import annotations

import io

import pytest

from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage


def test_a_repository_is_deleted_listed_and_restored(world: World, dredge: Dredge, garbage: Garbage) -> None:
    deleted = dredge("repository", "delete", "acme/app", "--yes")
    assert deleted.code == 0 and "dredge repository restore acme/app" in deleted.out
    assert dredge("tag", "list", "acme/app").code == 1
    (line,) = dredge("repository", "list", "--deleted", "--json").lines
    assert (line["namespace"], line["name"], line["begun"]) == ("acme", "app", False)
    assert "acme/app" in dredge("repository", "list", "acme", "--deleted").out
    restored = dredge("repository", "restore", "acme/app")
    assert restored.code == 0 and "stars" in restored.out
    dredge("repository", "delete", "acme/app", "--yes")
    renamed = dredge("repository", "restore", "acme/app", "--as", "saved", "--json")
    assert renamed.lines[0]["name"] == "saved"
    dredge("repository", "delete", "acme/saved", "--yes")
    renamed = dredge("repository", "restore", "acme/saved", "--as", "app")
    assert renamed.out.startswith("restored acme/app; ")
    assert dredge("tag", "list", "acme/app", "--json").lines[0]["name"] == "bystander"


def test_a_namespace_is_deleted_listed_and_restored(world: World, dredge: Dredge, garbage: Garbage) -> None:
    assert dredge("namespace", "delete", "acme", "--yes").code == 0
    assert dredge("namespace", "list", "--deleted", "--json").lines[0]["name"] == "acme"
    assert "acme" in dredge("namespace", "list", "--deleted").out
    restored = dredge("namespace", "restore", "acme", "--as", "acme2", "--json")
    assert restored.code == 0 and restored.lines[0]["name"] == "acme2"
    assert dredge("tag", "list", "acme2/app", "--json").lines[0]["name"] == "bystander"


def test_what_is_asked_before_a_deletion_says_what_does_not_come_back(
    world: World, dredge: Dredge, garbage: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with world.changes() as changes:
        asked = dredge("repository", "delete", "acme/app")
    assert asked.code == 1 and not changes
    assert "can be restored for 7d 0h, but for its stars" in asked.err + asked.out


def test_collect_all_purges_what_is_over_its_grace(world: World, dredge: Dredge, garbage: Garbage) -> None:
    owner = world.namespace("gone")
    for n in range(2):
        garbage.image("v1", size=50, repository=world.repository(f"r{n}", namespace=owner))
    garbage.image("v1", size=50, repository=world.repository("doomed"))
    world.repository("empty", namespace=owner)
    assert dredge("namespace", "delete", "gone", "--yes").code == 0
    assert dredge("repository", "delete", "acme/doomed", "--yes").code == 0
    assert dredge("collect", "--all", "--json").lines[0]["manifests"] == 0
    with world.changes() as changes:
        planned = dredge("plan", "--json", PURGE_GRACE_S="0")
    assert not changes
    assert {line["repository"] for line in planned.lines[:-1]} == {
        "gone/r0",
        "gone/r1",
        "acme/doomed",
    }
    said = dredge("collect", "--all", "--json", PURGE_GRACE_S="0")
    assert planned.lines[-1] == {key: said.lines[0].get(key, 0) for key in planned.lines[-1]}
    assert (said.lines[0]["repositories"], said.lines[0]["manifests"], said.lines[0]["blobs"]) == (4, 3, 3)
    assert garbage.objects() == 1
    assert world.rows("SELECT name FROM repository") == [("app",)]
    assert world.rows('SELECT username FROM "user"') == [("acme",)]


def test_a_purge_that_cannot_be_done_is_named_and_stops_no_other(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    blocked, other = world.repository("blocked"), world.repository("other")
    world.execute("CREATE TABLE plugin (id serial PRIMARY KEY, repository_id int REFERENCES repository (id))")
    world.insert("plugin", repository_id=int(blocked))
    for repository in (blocked, other):
        assert dredge("repository", "delete", f"acme/{repository.name}", "--yes").code == 0
    said = dredge("collect", "--all", PURGE_GRACE_S="0")
    assert said.code == 1 and "plugin.repository_id" in said.err
    assert world.value("SELECT count(*) FROM repository WHERE state = 3") == 1
    (line,) = dredge("repository", "list", "--deleted", "--json").lines
    assert "plugin.repository_id" in line["last_error"]


@pytest.mark.parametrize("command", [("repository", "list"), ("namespace", "list")])
def test_a_list_says_which_one_it_wants(dredge: Dredge, command: tuple[str, str]) -> None:
    assert dredge(*command).code == 2


def test_a_purge_that_the_breaker_stops_is_seen_and_approved(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    doomed = world.repository("doomed")
    garbage.image("v1", repository=doomed)
    dredge("repository", "delete", "acme/doomed", "--yes")
    limits = {"PURGE_GRACE_S": "0", "BREAKER_MANIFESTS": "1"}
    with world.changes() as changes:
        said = dredge("collect", "--all", **limits)
    assert said.code == 1 and not changes.removed
    assert "1 purge stopped: the registry's breaker is open: 1 of 2 manifests become due" in said.err
    assert "(1 in deleted repositories)" in dredge("status").out
    assert dredge("approve").code == 0
    assert dredge("collect", "--all", **limits).code == 0
    assert world.value("SELECT count(*) FROM repository WHERE id = %s", (int(doomed),)) == 0
    assert garbage.objects() == 1
