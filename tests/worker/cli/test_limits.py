"""What an operator sees of windows, limits and the throttle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model.controls import limits
from model.gc.inspect import vacuum
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage


def closed_window(world: World) -> str:
    start = datetime.fromtimestamp(world.now_ms / 1000, UTC) + timedelta(hours=2)
    return f"{start:%H:%M}-{start + timedelta(hours=1):%H:%M} UTC"


def test_commands_say_that_the_window_is_closed(world: World, dredge: Dredge, garbage: Garbage) -> None:
    garbage.image("v1", dead_for_ms=1)
    text = closed_window(world)
    with world.changes() as changes:
        said = dredge("collect", "--all", WINDOW=text)
        (status,) = dredge("status", "--json", WINDOW=text).lines
        shown = dredge("status", WINDOW=text).out
        (waiting,) = dredge("due", "--json", WINDOW=text).lines
    assert not changes
    assert said.code == 1 and f"nothing was removed: it is outside of the window {text}" in said.err
    assert status["window"]["is_open"] is False and status["window"]["changes_ms"] > world.now_ms
    assert f"{text}\tclosed\t" in shown and "Nothing is removed until the window opens." in shown
    assert waiting["why"] == f"it is outside of the window {text}"
    assert dredge("collect", "--all", "--ignore-hold", WINDOW=text).code == 0 and garbage.objects() == 1
    assert dredge("status", WINDOW="22-06").code == 2


def test_status_shows_what_workers_wait_for(world: World, dredge: Dredge, garbage: Garbage) -> None:
    quiet = dredge("status").out
    assert "workers wait for" not in quiet and "window" not in quiet
    limits.charge("rows", 3_600, per_s=1)
    (status,) = dredge("status", "--json").lines
    ((rows,),) = (status["limits"],)
    assert rows["name"] == "rows" and 3_000_000 < rows["wait_ms"] <= 3_600_000
    assert "rows\t59m " in dredge("status").out and status["database"]["sees_all"] is True
    assert garbage.objects() == 1


def test_status_names_tables_that_vacuum_does_not_keep_up_with(world: World, dredge: Dredge) -> None:
    world.execute("ALTER TABLE dredge_event SET (autovacuum_enabled = false)")
    world.execute(
        "INSERT INTO dredge_event (event_id, type, subject, data, created_ms, published_ms)"
        " SELECT n, 'x', 'x', '{}', 1, 1 FROM generate_series(1, 10100) n"
    )
    assert "behind on vacuum" not in dredge("status").out
    world.execute("DELETE FROM dredge_event WHERE id > 20")
    world.execute("ANALYZE dredge_event")
    world.rows("SELECT pg_stat_force_next_flush()")
    (status,) = dredge("status", "--json").lines
    worst = status["tables"][0]
    assert worst["table"] == "dredge_event" and worst["dead_rows"] > 10_000 > worst["live_rows"]
    shown = dredge("status").out
    assert "table behind on vacuum" in shown and "dredge_event\t" in shown and "\tnever\n" in shown
    assert "VACUUM is due" in shown and "Autovacuum is off." in shown


def test_status_names_indexes_that_a_mass_deletion_has_left_nearly_empty(
    world: World, dredge: Dredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.execute(
        "INSERT INTO dredge_event (event_id, type, subject, data, created_ms, published_ms)"
        " SELECT n, 'x', 'x', '{}', 1, 1 FROM generate_series(1, 20000) n"
    )
    world.execute("VACUUM ANALYZE dredge_event")
    full = {each.index: each for each in vacuum.read_index_states()}["dredge_event_pkey"]
    assert full.rows == 20_000 and 0.9 < full.bytes_if_new / full.bytes < 1.6
    world.execute("DELETE FROM dredge_event WHERE id % 200 <> 0")
    world.execute("VACUUM ANALYZE dredge_event")
    assert "larger than needed" not in dredge("status").out, "less than 50 MB is not worth the work"
    monkeypatch.setattr(vacuum, "_WASTED_BYTES", 100_000)
    shown = dredge("status").out
    assert "index larger than needed" in shown and "dredge_event_pkey\t" in shown
    assert "REINDEX INDEX CONCURRENTLY is due" in shown
    world.execute("REINDEX INDEX dredge_event_pkey")
    assert "dredge_event_pkey\t" not in dredge("status").out
    assert world.rows("SELECT count(*) FROM dredge_event") == [(100,)]


def test_check_says_whether_the_role_can_see_the_health(world: World, dredge: Dredge) -> None:
    assert "throttle" not in dredge("check").out
    assert "ok\tthrottle\ta standby is 0.0 s behind" in dredge("check", THROTTLE_LAG_S="10").out
    world.execute("CREATE ROLE blind")
    try:
        world.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO blind")
        said = dredge("check", THROTTLE_LAG_S="10", DATABASE_URL=f"{world.url}?options=-crole%3Dblind")
        assert said.code == 1 and "GRANT pg_read_all_stats" in said.out
    finally:
        world.execute("DROP OWNED BY blind")
        world.execute("DROP ROLE blind")
