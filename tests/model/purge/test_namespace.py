"""Deleted namespaces go with their repositories, robots and teams; everybody else keeps theirs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model import registry
from model.policy import DEFAULT
from model.purge.state import PurgeBlocked
from tests.model.purge.conftest import NOW
from tests.model.purge.purging import exact_quota, purge, purge_namespace
from tests.support.quay import FACTS
from tests.support.quay_rows import fill, fill_all
from tests.support.rows import timestamp
from tests.support.world import Row, World

HANDLED = {"repository", "deletednamespace", "quotanamespacesize", "repositoryautoprunepolicy"}


def _robot(world: World, name: str, *, made_ms: int | None = None) -> Row:
    robot = world.namespace(name)
    made = None if made_ms is None else timestamp(made_ms)
    world.execute('UPDATE "user" SET robot = true, creation_date = %s WHERE id = %s', (made, int(robot)))
    return robot


@pytest.mark.parametrize("limit", [1000, 2])
def test_everything_of_a_deleted_namespace_goes_and_a_bystander_stays(quay: World, limit: int) -> None:
    quay.tag("v1")
    bystander = quay.namespace("bystander")
    fill_all(quay, "user", bystander, but=HANDLED)
    kept = quay.snapshot()
    doomed = quay.namespace("doomed")
    robot = _robot(quay, "doomed+bot", made_ms=1)
    repositories = [quay.repository(f"r{n}", namespace=doomed) for n in range(3)]
    for repository in repositories:
        quay.tag("v1", manifest=quay.manifest(repository, blobs=[quay.blob(10)]))
        quay.quota(repository)
    for owner in (doomed, robot):
        fill_all(quay, "user", owner, but=HANDLED)
    fill(quay, "permissionprototype", org_id=int(bystander), delegate_user_id=int(robot))
    registry.delete_namespace("doomed", policy=NOW)
    assert purge_namespace(doomed, limit=limit)[-1].waiting
    assert {purge(repository)[-1].done for repository in repositories} == {True}
    assert purge_namespace(doomed, limit=limit)[-1].done
    left = quay.snapshot()
    references = _referring_to_user()
    for table, column in references:
        gone = {int(doomed), int(robot)}
        assert [row for row in left[table].values() if row[column] in gone] == [], f"{table}.{column}"
        assert {key: left[table].get(key) for key in kept[table]} == kept[table], table
    assert {doomed, robot}.isdisjoint(left["user"])
    assert {key: left["user"].get(key) for key in kept["user"]} == kept["user"]
    assert exact_quota(quay)
    assert left["queueitem"] == {} and left["dredge_purge"] == {}


def _referring_to_user() -> list[tuple[str, str]]:
    return [
        (table, column)
        for table, facts in FACTS.items()
        for column, target in facts["references"]
        if target == "user"
    ]


def test_a_robot_of_somebody_who_took_the_name_since_stays(world: World) -> None:
    doomed = world.namespace("doomed")
    old = _robot(world, "doomed+old", made_ms=world.now_ms - 10_000)
    unknown = _robot(world, "doomed+unknown")
    registry.delete_namespace("doomed", policy=NOW)
    successor = world.namespace("doomed")
    new = _robot(world, "doomed+new", made_ms=world.now_ms + 3_600_000)
    alike = _robot(world, "doomed2+bot", made_ms=1)
    with world.only_removes(user=[doomed, old], deletednamespace=1):
        assert purge_namespace(doomed)[-1].done
    left = world.value('SELECT count(*) FROM "user" WHERE id = ANY(%s)', ([successor, new, alike, unknown],))
    assert left == 4


def test_its_repositories_are_purged_with_it_whatever_their_own_grace(world: World) -> None:
    doomed = world.namespace("doomed")
    repository = world.repository("app", namespace=doomed)
    registry.delete_namespace("doomed")
    assert not purge_namespace(doomed, policy=DEFAULT)[0].rows
    earlier = timestamp(world.now_ms) - timedelta(days=8)
    world.execute("UPDATE deletednamespace SET marked = %s", (earlier,))
    assert purge_namespace(doomed, policy=DEFAULT)[0].marked == 1
    assert purge(repository, policy=DEFAULT)[-1].done
    assert purge_namespace(doomed, policy=DEFAULT)[-1].done


def test_an_unknown_foreign_key_stops_the_purge_before_anything_is_marked(world: World) -> None:
    doomed = world.namespace("doomed")
    world.repository("app", namespace=doomed)
    world.execute('CREATE TABLE plugin (id serial PRIMARY KEY, owner_id int REFERENCES "user" (id))')
    world.insert("plugin", owner_id=int(doomed))
    registry.delete_namespace("doomed", policy=NOW)
    with world.changes() as changes, pytest.raises(PurgeBlocked, match=r"plugin\.owner_id"):
        purge_namespace(doomed)
    assert not changes


def test_a_namespace_that_nobody_deleted_is_never_purged(world: World) -> None:
    disabled = world.namespace("disabled", enabled=False)
    owner = world.namespace_id
    with world.changes() as changes:
        assert not purge_namespace(disabled)[0].rows
        assert not purge_namespace(owner)[0].rows
    assert not changes
