"""Sessions own their settings: what a role, a database or a stranger sets changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from model.db import connection as database
from model.db.connection import execute, fetch_one, find_inherited, transaction
from model.db.session import OWNED
from model.errors import BadInput
from model.fsck.objects import stream_expected
from tests.support.pipeline import make_context, run_to_quiescence
from tests.support.servers.pgbouncer import PgBouncer
from tests.support.world import World
from worker.local.embedded import EmbeddedServers

HOSTILE = {
    "default_transaction_isolation": "serializable",
    "lock_timeout": "1ms",
    "statement_timeout": "250ms",
    "idle_in_transaction_session_timeout": "250ms",
    "search_path": "elsewhere",
    "TimeZone": "Pacific/Kiritimati",
    "DateStyle": "SQL, DMY",
    "synchronous_commit": "off",
    "row_security": "on",
    "enable_seqscan": "on",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
}


@pytest.fixture
def pooler(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    assert servers.postgres is not None
    made = PgBouncer(tmp_path_factory.mktemp("pooler") / "pgbouncer", postgres=servers.postgres.port)
    made.start()
    yield made
    made.stop()


def set_defaults(world: World, values: dict[str, str]) -> None:
    """As an administrator does, for the whole database."""
    name = world.url.rpartition("/")[2]
    for parameter, value in values.items():
        world.execute(f"ALTER DATABASE \"{name}\" SET {parameter} = '{value}'")


def garbage(world: World) -> dict[str, Any]:
    """An image that is due, beside a tagged one and a pushed blob that are not; the rows that go."""
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))
    world.uploaded(world.blob(), expires_ms=world.now_ms + 3_600_000)
    blob = world.blob()
    gone = world.tag("old", manifest=world.manifest(blobs=[blob]), ended_ms=1)
    return {"tag": gone, "manifest": gone.manifest, "blob": blob}


def collect_all(objects: Path) -> None:
    objects.mkdir(exist_ok=True)
    run_to_quiescence(make_context(objects))


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_case_61_what_a_database_sets_changes_no_collection(
    world: World, tmp_path: Path, isolation: str
) -> None:
    world.execute("CREATE SCHEMA elsewhere")
    rows = garbage(world)
    set_defaults(world, HOSTILE | {"default_transaction_isolation": isolation})
    database.configure(f"{world.url}?options=-csearch_path%3Dpublic")
    with world.only_removes(**rows):
        collect_all(tmp_path / "objects")


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_case_61_the_last_look_sees_a_push_that_has_just_committed(world: World, isolation: str) -> None:
    set_defaults(world, {"default_transaction_isolation": isolation})
    database.configure(world.url)
    with transaction():
        before = fetch_one("SELECT count(*) AS n FROM imagestorage").n
        with transaction():
            world.blob()
        assert fetch_one("SELECT count(*) AS n FROM imagestorage").n == before + 1


def test_a_wait_that_the_database_would_end_goes_on(world: World) -> None:
    set_defaults(world, HOSTILE | {"search_path": "public"})
    database.configure(world.url)
    with transaction():
        fetch_one("SELECT pg_sleep(0.5)")
        time.sleep(0.5)
        assert execute('SELECT FROM "user"') >= 0


def test_every_session_shows_its_own_values_and_says_what_it_replaced(world: World) -> None:
    set_defaults(world, {name: value for name, value in HOSTILE.items() if name != "search_path"})
    database.configure(world.url)
    with database.connection():
        shown = {name: fetch_one(f"SHOW {name}")[0] for name in OWNED}
        inherited = {row.name: row.inherited for row in find_inherited()}
    assert (shown["default_transaction_isolation"], shown["TimeZone"]) == ("read committed", "UTC")
    assert (shown["lock_timeout"], shown["row_security"]) == ("10s", "off")
    assert inherited["default_transaction_isolation"] == "serializable"
    assert inherited["synchronous_commit"] == "off"
    assert "idle_session_timeout" not in inherited


@pytest.mark.parametrize(
    "wait",
    ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"],
)
def test_every_wait_of_a_session_has_an_end(world: World, wait: str) -> None:
    """For a lock, for a statement, and of others for a transaction whose process is frozen."""
    set_defaults(world, {wait: "0"})
    database.configure(world.url)
    assert fetch_one("SELECT setting::int AS ms FROM pg_settings WHERE name = %s", (wait,)).ms > 0


def test_another_search_path_is_asked_about_and_not_followed(world: World) -> None:
    world.execute("CREATE SCHEMA elsewhere")
    set_defaults(world, {"search_path": "elsewhere"})
    database.configure(world.url)
    with pytest.raises(BadInput, match="whose schema is elsewhere: name the one"), world.unchanged():
        execute("DELETE FROM tag")
    database.configure(f"{world.url}?options=-csearch_path%3Delsewhere%20-c%20work_mem%3D8MB")
    assert fetch_one("SELECT current_schema() AS name").name == "elsewhere"
    assert fetch_one("SHOW work_mem").work_mem == "8MB"


def test_a_session_in_which_no_foreign_key_is_checked_is_refused(world: World) -> None:
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))
    set_defaults(world, {"session_replication_role": "replica"})
    database.configure(world.url)
    with pytest.raises(BadInput, match="no foreign key is checked"), world.unchanged():
        execute("DELETE FROM manifest")


def test_options_that_the_server_refuses_are_one_line(world: World) -> None:
    database.configure(f"{world.url}?options=-cwork_mem%3Dplenty")
    with pytest.raises(BadInput, match="are refused: invalid value for parameter"):
        execute("SELECT 1")


def pollute(pooled_url: str) -> None:
    """What other clients leave behind on the sessions of the server that all share."""
    strangers = [psycopg2.connect(pooled_url) for _ in range(2)]
    for stranger in strangers:
        cursor = stranger.cursor()
        for name, value in HOSTILE.items():
            if not name.endswith("_timeout"):
                cursor.execute(f"SET {name} = '{value}'")
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS imagestorage (id int)")
    for stranger in strangers:
        stranger.commit()
        stranger.close()


def test_behind_a_pooler_a_strangers_session_changes_nothing_and_keeps_nothing_of_ours(
    world: World, pooler: PgBouncer, tmp_path: Path
) -> None:
    world.execute("CREATE SCHEMA elsewhere")
    rows = garbage(world)
    url = pooler.url(world.url)
    pollute(url)
    database.configure(f"{url}?options=-csearch_path%3Dpublic", pooled=True)
    with world.only_removes(**rows):
        collect_all(tmp_path / "objects")
    stranger = psycopg2.connect(url)
    for _ in range(2):
        with stranger, stranger.cursor() as cursor:
            cursor.execute("SHOW search_path")
            assert cursor.fetchone() == ("elsewhere",)
            cursor.execute("SELECT name FROM pg_prepared_statements UNION SELECT name FROM pg_cursors")
            assert cursor.fetchall() == [("",)] or not cursor.rowcount
    stranger.close()


def test_behind_a_pooler_fsck_reads_every_page_though_the_session_changes(
    world: World, pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.fsck.objects.PAGE", 2)
    blobs = [world.blob() for _ in range(5)]
    database.configure(pooler.url(world.url), pooled=True)
    found = []
    with database.connection():
        for expected in stream_expected("local_us"):
            found.append(expected.path)
            other = psycopg2.connect(pooler.url(world.url))
            other.cursor().execute("SELECT 1")
            execute("SELECT 1")
            other.close()
    assert len(found) == len(blobs)
