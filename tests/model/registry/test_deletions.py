"""Deletions of repositories and namespaces, and their undo."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model import namespace, registry, repository
from model.errors import BadInput, NameTaken, NoSuchNamespace, NoSuchRepository, NotRestorable
from model.policy import DEFAULT
from model.purge.references import read_steps
from model.purge.repository import purge_repository_batch
from tests.model.purge.conftest import NOW, quay
from tests.model.purge.purging import purge, purge_namespace
from tests.support.quay_rows import fill
from tests.support.world import World

__all__ = ["quay"]

UNDONE = {"dredge_event"}


def test_a_restored_repository_is_as_it_was_but_for_its_stars(quay: World) -> None:
    doomed = quay.repository("doomed", state=1)
    for n in range(20):
        quay.tag(f"t{n}", manifest=quay.manifest(doomed, blobs=[quay.blob(n)]))
    quay.permission(quay.namespace("friend"), repository=doomed)
    quay.quota(doomed)
    star = fill(quay, "star", repository_id=int(doomed))
    with quay.changes() as changes:
        deleted = registry.delete_repository("acme/doomed")
        assert deleted.path == "acme/doomed" and not deleted.begun
        with pytest.raises(NoSuchRepository):
            registry.get_repository("acme/doomed")
        registry.restore_repository("acme/doomed")
    assert set(changes.removed) == {"star"} and set(changes.removed["star"]) == {star}
    assert set(changes.added) == UNDONE and not changes.changed
    assert registry.get_tag("acme/doomed", "t7") is not None
    assert quay.value("SELECT state FROM repository WHERE id = %s", (int(doomed),)) == 1


def test_ten_thousand_manifests_come_back_unchanged(world: World) -> None:
    doomed = world.repository("doomed")
    one = world.manifest(doomed)
    world.execute(
        "INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes)"
        " SELECT repository_id, 'sha256:' || n, media_type_id, '{}' FROM manifest, generate_series(1, 9999) n"
        " WHERE id = %s",
        (int(one),),
    )
    with world.changes() as changes:
        registry.delete_repository("acme/doomed")
        registry.restore_repository("acme/doomed")
    assert set(changes.added) == UNDONE and not changes.changed and not changes.removed


def test_what_quay_deleted_comes_back_as_well_until_a_purge_begins(world: World) -> None:
    doomed = world.repository("doomed")
    for n in range(4):
        world.tag(f"t{n}", repository=doomed)
    world.mark_deleted(doomed)
    assert [each.path for each in registry.list_deleted_repositories("acme")] == ["acme/doomed"]
    registry.restore_repository("acme/doomed")
    assert registry.get_repository("acme/doomed").id == doomed
    registry.delete_repository("acme/doomed", policy=NOW)
    purge(doomed, limit=2)
    with pytest.raises(NotRestorable):
        registry.restore_repository("acme/doomed")


def test_a_purge_that_has_begun_cannot_be_undone(world: World) -> None:
    doomed = world.repository("doomed")
    for n in range(4):
        world.tag(f"t{n}", repository=doomed)
    registry.delete_repository("acme/doomed", policy=NOW)
    assert purge_repository_batch(doomed, steps=read_steps("repository"), policy=NOW, limit=2).has_more
    with world.changes() as changes, pytest.raises(NotRestorable, match="begun"):
        registry.restore_repository("acme/doomed")
    assert not changes
    assert registry.list_deleted_repositories()[0].begun


def test_a_deleted_name_is_kept_until_the_purge(world: World) -> None:
    doomed = world.repository("doomed")
    registry.delete_repository("acme/doomed", policy=NOW)
    with pytest.raises(NameTaken, match="restore it"):
        repository.ensure(world.namespace_id, "doomed")
    purge(doomed)
    assert repository.ensure(world.namespace_id, "doomed").id != doomed


def test_a_name_that_quay_gave_away_meanwhile_asks_for_another(world: World) -> None:
    doomed = world.repository("doomed")
    registry.delete_repository("acme/doomed")
    world.repository("doomed")
    with world.changes() as changes, pytest.raises(NameTaken, match="another name"):
        registry.restore_repository("acme/doomed")
    assert not changes
    registry.restore_repository("acme/doomed", name="saved")
    assert registry.get_repository("acme/saved").id == doomed


def test_deleting_twice_and_restoring_twice_say_that_there_is_nothing(world: World) -> None:
    world.repository("doomed")
    registry.delete_repository("acme/doomed")
    with pytest.raises(NoSuchRepository):
        registry.delete_repository("acme/doomed")
    registry.restore_repository("acme/doomed")
    with pytest.raises(NotRestorable):
        registry.restore_repository("acme/doomed")


def test_a_restored_namespace_is_as_it_was(quay: World) -> None:
    doomed = quay.namespace("doomed")
    quay.tag("v1", repository=quay.repository("app", namespace=doomed))
    fill(quay, "team", organization_id=int(doomed))
    with quay.changes() as changes:
        registry.delete_namespace("doomed")
        assert namespace.get("doomed") is None
        with pytest.raises(NameTaken):
            namespace.ensure("doomed")
        with pytest.raises(NoSuchNamespace):
            registry.delete_namespace("doomed")
        registry.restore_namespace("doomed")
    assert set(changes.added) == UNDONE and not changes.changed and not changes.removed
    assert registry.get_tag("doomed/app", "v1") is not None


def test_a_namespace_whose_purge_has_begun_stays_deleted_and_so_do_its_repositories(world: World) -> None:
    doomed = world.namespace("doomed")
    world.repository("app", namespace=doomed)
    registry.delete_namespace("doomed", policy=NOW)
    purge_namespace(doomed)
    for restore in (lambda: registry.restore_namespace("doomed"), _restore_app):
        with world.changes() as changes, pytest.raises(NotRestorable):
            restore()
        assert not changes


def _restore_app() -> None:
    registry.restore_repository("doomed/app")


def test_a_robot_is_not_deleted_as_a_namespace(world: World) -> None:
    robot = world.namespace("bot")
    world.execute('UPDATE "user" SET robot = true WHERE id = %s', (int(robot),))
    with world.changes() as changes, pytest.raises(BadInput, match="robot"):
        registry.delete_namespace("bot")
    assert not changes


def test_a_grace_of_nothing_is_allowed(world: World) -> None:
    doomed = world.repository("doomed")
    registry.delete_repository("acme/doomed", policy=replace(DEFAULT, purge_grace_ms=0))
    assert purge(doomed)[-1].done
