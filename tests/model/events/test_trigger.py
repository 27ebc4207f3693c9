"""The optional trigger: whoever ends a tag, one event says so."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from model import registry
from model.events.outbox import Listener
from model.events.trigger import install_triggers, remove_triggers, triggers_installed
from model.gc.find import find_in_slice
from model.policy import DEFAULT
from tests.support.patience import PATIENCE_S
from tests.support.world import World

WINDOW_MS = 14 * 24 * 3_600_000


@pytest.fixture
def installed(world: World) -> None:
    assert install_triggers()


def events(world: World) -> list[dict[str, Any]]:
    rows = world.rows("SELECT type, subject, data FROM dredge_event ORDER BY id")
    return [{"type": type, "subject": subject, **json.loads(data)} for type, subject, data in rows]


def set_end(world: World, tag: int, end_ms: int | None) -> None:
    world.execute("UPDATE tag SET lifetime_end_ms = %s WHERE id = %s", (end_ms, int(tag)))


@pytest.mark.usefixtures("installed")
def test_a_tag_that_psql_ends_is_published(world: World) -> None:
    tag = world.tag("v1")
    world.tag("v2")
    ended_ms = world.now_ms - 10
    with world.changes() as changes:
        set_end(world, tag, ended_ms)
    assert set(changes.changed) == {"tag"} and set(changes.changed["tag"]) == {tag}
    assert set(changes.added) == {"dredge_event"}
    assert events(world) == [
        {
            "type": "registry.tag.deleted",
            "subject": "acme/app:v1",
            "namespace": "acme",
            "repository": "app",
            "repository_id": world.repository_id,
            "tag": "v1",
            "digest": tag.manifest.digest,
            "hidden": False,
            "ended_ms": ended_ms,
            "recoverable_until_ms": ended_ms + WINDOW_MS,
        }
    ]


@pytest.mark.usefixtures("installed")
def test_a_window_of_zero_makes_no_permanent_deletion_of_a_deletion(world: World) -> None:
    repository = world.repository("zero", namespace=world.namespace("hasty", window_s=0))
    tag = world.tag("v1", repository=repository)
    set_end(world, tag, world.now_ms - 10)
    assert [event["type"] for event in events(world)] == ["registry.tag.deleted"]


@pytest.mark.usefixtures("installed")
def test_what_the_facade_ends_is_published_once(world: World) -> None:
    world.tag("v1")
    other = world.manifest()
    registry.retarget_tag(world.repository_id, "v1", other.digest)
    registry.change_tag_expiration(world.repository_id, "v1", world.now_ms + 7_200_000)
    registry.delete_tag(world.repository_id, "v1")
    assert [event["type"] for event in events(world)] == [
        "registry.tag.retargeted",
        "registry.tag.expiry_changed",
        "registry.tag.deleted",
    ]


@pytest.mark.usefixtures("installed")
def test_a_name_that_quay_moves_is_published_as_moved(world: World) -> None:
    old, new = world.tag("v1"), world.manifest()
    world.execute(
        "BEGIN; UPDATE tag SET lifetime_end_ms = %s WHERE id = %s;"
        " INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, tag_kind_id)"
        " SELECT name, repository_id, %s, lifetime_end_ms, tag_kind_id FROM tag WHERE id = %s; COMMIT",
        (world.now_ms, int(old), int(new), int(old)),
    )
    (event,) = events(world)
    assert event["type"] == "registry.tag.retargeted" and event["digest"] == new.digest
    assert event["previous_digest"] == old.manifest.digest and event["ended_ms"] is None


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("before", "after", "type"),
    [
        (None, 3_600_000, "registry.tag.expiry_changed"),
        (3_600_000, None, "registry.tag.expiry_changed"),
        (-1_000, None, "registry.tag.restored"),
        (None, -WINDOW_MS - 1_000, "registry.tag.permanently_deleted"),
        (-1_000, -WINDOW_MS - 1_000, "registry.tag.permanently_deleted"),
    ],
)
def test_each_change_of_an_end_has_its_event(
    world: World, before: int | None, after: int | None, type: str
) -> None:
    tag = world.tag("v1", ended_ms=None if before is None else world.now_ms + before)
    set_end(world, tag, None if after is None else world.now_ms + after)
    assert [event["type"] for event in events(world)] == [type]


@pytest.mark.usefixtures("installed")
def test_a_rolled_back_end_and_an_unchanged_one_publish_nothing(world: World) -> None:
    tag = world.tag("v1")
    with world.changes() as changes:
        world.execute("BEGIN; UPDATE tag SET lifetime_end_ms = 5 WHERE id = %s; ROLLBACK", (int(tag),))
        set_end(world, tag, None)
        world.execute("UPDATE tag SET immutable = immutable")
    assert not changes


@pytest.mark.usefixtures("installed")
def test_a_broken_outbox_never_stops_somebody_elses_change(world: World) -> None:
    tag = world.tag("v1")
    world.execute("ALTER TABLE dredge_event RENAME TO elsewhere")
    set_end(world, tag, world.now_ms)
    assert world.value("SELECT lifetime_end_ms FROM tag WHERE id = %s", (int(tag),)) == world.now_ms


def test_it_can_be_installed_and_removed_again_and_again(world: World) -> None:
    tag = world.tag("v1")
    assert not triggers_installed()
    assert [install_triggers(), install_triggers(), triggers_installed()] == [True, False, True]
    assert [remove_triggers(), remove_triggers(), triggers_installed()] == [True, False, False]
    with world.changes() as changes:
        set_end(world, tag, world.now_ms)
    assert set(changes.changed) == {"tag"} and not changes.added


@pytest.fixture
def role(world: World) -> Iterator[str]:
    """A role that may change tags, read what it needs for that, and make temporary tables."""
    name = f"quay_{uuid.uuid4().hex[:12]}"
    world.execute(f"CREATE ROLE {name}; GRANT SELECT, UPDATE ON tag TO {name}")
    yield name
    world.execute(f"RESET ROLE; DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.usefixtures("installed")
def test_a_role_with_rights_on_tags_alone_gets_its_events_and_nothing_else(world: World, role: str) -> None:
    tag = world.tag("v1")
    world.execute(
        f"SET ROLE {role};"
        'CREATE TEMP TABLE repository AS SELECT 1 AS id; CREATE TEMP TABLE "user" AS SELECT 1 AS id;'
        "CREATE TEMP TABLE dredge_event AS SELECT 1 AS id"
    )
    set_end(world, tag, world.now_ms - 10)
    for forbidden in (
        "INSERT INTO public.dredge_event (event_id, type, subject, data, created_ms)"
        " VALUES ('', '', '', '', 1)",
        "DELETE FROM public.dredge_event",
        "SELECT public.dredge_tag_ended()",
        "CREATE TEMP TABLE mine (LIKE public.tag); CREATE TRIGGER forged AFTER UPDATE ON mine"
        " FOR EACH ROW EXECUTE FUNCTION public.dredge_tag_ended()",
        "CREATE TEMP TABLE forged"
        " (id int, event_id text, type text, subject text, data text, created_ms bigint);"
        " CREATE TRIGGER forged AFTER INSERT ON forged REFERENCING NEW TABLE AS recorded"
        " FOR EACH STATEMENT EXECUTE FUNCTION public.dredge_owe_deliveries()",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            world.execute(forbidden)
    world.execute("RESET ROLE; DROP TABLE pg_temp.repository, pg_temp.user, pg_temp.dredge_event")
    assert [event["subject"] for event in events(world)] == ["acme/app:v1"]


@pytest.mark.parametrize("notify", [True, False])
def test_without_notify_the_event_is_there_and_nobody_is_woken(world: World, notify: bool) -> None:
    install_triggers(notify=not notify)
    install_triggers(notify=notify)
    listener = Listener()
    listener.wait(PATIENCE_S)
    set_end(world, world.tag("v1"), world.now_ms - 10)
    assert len(events(world)) == 1
    assert listener.wait(30 if notify else 0.05) is notify
    listener.close()


def test_without_the_trigger_the_scan_finds_what_psql_ended(world: World) -> None:
    assert not triggers_installed()
    set_end(world, world.tag("v1"), 1)
    assert not events(world)
    found = find_in_slice(after=0, slice=10, policy=DEFAULT, now_ms=world.now_ms)
    assert [due.repository_id for due in found.due] == [world.repository_id]
