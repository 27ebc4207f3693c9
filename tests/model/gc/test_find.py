"""Which repositories have garbage: found in slices, ranked so that every tenant gets its turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.db.clock import now_ms
from model.db.connection import execute
from model.gc.cursor import move_cursor, read_cursor
from model.gc.due.attempt import claim, record_failure
from model.gc.find import Due, ScanSlice, find_in_slice, find_others, rank
from model.policy import DEFAULT, HOUR_MS, Policy
from tests.support.world import WEEK_S, Row, World

DAY_MS = 24 * HOUR_MS
WINDOW_MS = 14 * DAY_MS


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    """A repository with a living tag, one that can still be restored, and a push that goes on."""
    world.tag("bystander")
    world.tag("recoverable", ended_ms=world.now_ms - HOUR_MS)
    world.uploaded(world.blob())
    world.upload()


def look(world: World, policy: Policy = DEFAULT, after: int = 0, slice: int = 1000) -> ScanSlice:
    return find_in_slice(after=after, slice=slice, policy=policy, now_ms=world.now_ms)


def due_ids(found: ScanSlice) -> set[int]:
    return {due.repository_id for due in found.due}


def overdue(world: World, by_ms: int = DAY_MS, **more: object) -> Row:
    """A repository with one tag whose window closed so long ago."""
    repository = world.repository(**more)  # type: ignore[arg-type]
    world.tag(repository=repository, ended_ms=world.now_ms - WINDOW_MS - by_ms)
    return repository


def others(world: World, policy: Policy = DEFAULT, limit: int = 100) -> dict[int, int]:
    return {
        due.repository_id: due.due_ms for due in find_others(policy=policy, now_ms=world.now_ms, limit=limit)
    }


def test_repositories_with_an_unrecoverable_tag_are_found_since_its_window_closed(world: World) -> None:
    repository = overdue(world, by_ms=5000)
    world.tag(repository=repository, ended_ms=world.now_ms - WINDOW_MS - 2000)
    with world.unchanged():
        found = look(world)
    assert found.due == (Due(repository, world.namespace_id, world.now_ms - 5000),)


@pytest.mark.parametrize(("early_ms", "found"), [(0, True), (1, False)])
def test_the_window_closes_at_the_very_millisecond(world: World, early_ms: int, found: bool) -> None:
    repository = overdue(world, by_ms=-early_ms)
    assert due_ids(look(world)) == ({repository} if found else set())


def test_each_namespace_has_its_own_window(world: World) -> None:
    hasty, patient = world.namespace(window_s=0), world.namespace(window_s=4 * WEEK_S)
    gone = world.repository(namespace=hasty)
    world.tag(repository=gone, ended_ms=world.now_ms - 1)
    overdue(world, namespace=patient)
    assert due_ids(look(world)) == {gone}


def test_case_17_a_repository_whose_ended_tags_are_immutable_has_no_garbage(world: World) -> None:
    repository = world.repository()
    world.tag(repository=repository, ended_ms=1, immutable=True)
    assert not look(world).due
    assert due_ids(look(world, replace(DEFAULT, immutable_tags_can_expire=True))) == {repository}
    assert due_ids(look(world, replace(DEFAULT, immutable_tags=False))) == {repository}
    overdue_too = world.tag(repository=repository, ended_ms=2)
    assert [due.due_ms for due in look(world).due] == [overdue_too.ended_ms + WINDOW_MS]


def test_disabled_namespaces_and_marked_repositories_are_not_found(world: World) -> None:
    blocked = overdue(world, namespace=world.namespace(enabled=False))
    marked = overdue(world)
    for repository in (blocked, marked):
        world.uploaded(world.blob(), repository=repository, expires_ms=1)
        _candidate(world, repository)
    world.mark_deleted(marked)
    with world.unchanged():
        assert not look(world).due
        assert not others(world)


def test_case_52_a_failing_repository_is_left_out_until_its_next_try(world: World) -> None:
    poison, fine = overdue(world), overdue(world)
    world.uploaded(world.blob(), repository=poison, expires_ms=1)
    claim([poison])
    record_failure(poison, "broken")
    assert due_ids(look(world)) == {fine} and not others(world)
    world.execute("UPDATE dredge_failure SET retry_ms = %s", (world.now_ms,))
    assert due_ids(look(world)) == {poison, fine} and set(others(world)) == {poison}


def test_a_failure_without_garbage_is_tried_again_too_so_that_it_is_cleared(world: World) -> None:
    clean = world.repository()
    claim([clean])
    record_failure(clean, "after its last batch had committed")
    assert not others(world)
    world.execute("UPDATE dredge_failure SET retry_ms = %s", (world.now_ms - 5,))
    assert others(world) == {clean: world.now_ms - 5}


def test_failures_double_the_wait_from_half_a_minute_to_a_day(world: World) -> None:
    waits = []
    for _ in range(14):
        claim([world.repository_id])
        record_failure(world.repository_id, "broken")
        waits.append(world.value("SELECT retry_ms FROM dredge_failure") - now_ms())
    rounded = [round(wait / 30_000) for wait in waits]
    assert rounded[:5] == [1, 2, 4, 8, 16] and rounded[-1] == 24 * 3600 / 30
    assert world.value("SELECT failures FROM dredge_failure") == 14


def test_slices_cover_every_repository_once(world: World) -> None:
    repositories = {overdue(world) for _ in range(7)}
    seen: list[int] = []
    after, looked, steps = 0, 0, 0
    while True:
        found = look(world, after=after, slice=3)
        seen += [due.repository_id for due in found.due]
        looked, steps, after = looked + found.looked, steps + 1, found.last
        if not after:
            break
    assert sorted(seen) == sorted(repositories) and looked == 8 and steps == 3


def test_a_slice_that_ends_with_the_last_repository_is_followed_by_an_empty_one(world: World) -> None:
    found = look(world, slice=1)
    assert (found.looked, found.last) == (1, world.repository_id)
    assert look(world, after=found.last, slice=1) == ScanSlice((), 0, 0)


def test_the_cursor_is_where_it_was_moved(world: World) -> None:
    assert read_cursor("find") == 0
    move_cursor("other", 3)
    for position in (7, 5):
        move_cursor("find", position)
        assert read_cursor("find") == position
    assert read_cursor("other") == 3


def test_case_42_a_repository_whose_only_garbage_is_expired_uploads_is_found(world: World) -> None:
    pushed, unfinished = world.repository(), world.repository()
    expired_ms = world.now_ms - HOUR_MS
    world.uploaded(world.blob(), repository=pushed, expires_ms=expired_ms)
    world.uploaded(world.blob(), repository=pushed, expires_ms=expired_ms + 1000)
    world.upload(repository=unfinished, created_ms=world.now_ms - DEFAULT.upload_ttl_ms - 10_000)
    assert not look(world).due
    found = others(world)
    assert set(found) == {pushed, unfinished}
    assert abs(found[pushed] - expired_ms) < 1000
    assert abs(found[unfinished] - (world.now_ms - 10_000)) < 1000


def test_case_30_a_repository_with_a_recorded_manifest_is_found(world: World) -> None:
    repository = world.repository()
    _candidate(world, repository)
    assert others(world) == {repository: 1}


def test_no_kind_of_other_garbage_is_read_beyond_the_limit(world: World) -> None:
    repositories = [world.repository() for _ in range(6)]
    for n, repository in enumerate(repositories):
        world.uploaded(world.blob(), repository=repository, expires_ms=world.now_ms - 60_000 * (10 - n))
    assert set(others(world, limit=2)) == set(repositories[:2])


def test_case_51_a_tenant_with_thousands_shares_with_one_that_has_ten() -> None:
    crowd = [Due(n, 1, n) for n in range(1, 5001)]
    few = [Due(10_000 + n, 2, 4000 + n) for n in range(10)]
    ranked = rank(crowd + few, limit=50)
    assert len(ranked) == 50
    assert [due for due in ranked if due.namespace_id == 2] == few
    assert {due.namespace_id for due in ranked[:2]} == {1, 2}
    assert [due for due in ranked if due.namespace_id == 1] == crowd[:40]


def test_within_a_namespace_the_longest_waiting_goes_first() -> None:
    found = [Due(3, 1, 30), Due(1, 1, 50), Due(2, 1, 10)]
    assert [due.repository_id for due in rank(found, limit=10)] == [2, 3, 1]
    assert [due.repository_id for due in rank(found, limit=2)] == [2, 3]
    assert rank([], limit=10) == []


def test_a_repository_that_was_found_twice_appears_once_with_its_earliest_time() -> None:
    assert rank([Due(1, 1, 50), Due(2, 1, 20), Due(1, 1, 10)], limit=10) == [Due(1, 1, 10), Due(2, 1, 20)]


def test_tags_inside_their_window_cost_nothing(world: World) -> None:
    """A few thousand living and restorable tags: the pages that are read do not grow with them."""
    repositories = [overdue(world) for _ in range(10)]
    few = _pages(world)
    manifest = world.manifest(repositories[0])
    world.execute(
        "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden,"
        " tag_kind_id, immutable, reversion)"
        " SELECT 'more' || n, r, %(manifest)s, 0, CASE WHEN n %% 2 = 0 THEN %(end)s + n END, false,"
        " %(kind)s, false, false"
        " FROM generate_series(1, 400) n CROSS JOIN unnest(%(repositories)s) r",
        {
            "manifest": int(manifest),
            "end": world.now_ms - DAY_MS,
            "kind": world.lookup("tagkind", "tag"),
            "repositories": [int(repository) for repository in repositories],
        },
    )
    world.execute("VACUUM ANALYZE tag")
    assert _pages(world) <= few + 40
    assert due_ids(look(world)) == set(repositories)


def _pages(world: World) -> int:
    """How many pages of `tag` and its indexes the scan of the whole registry touches."""
    from model.gc import find

    plan = world.value(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {find.IN_SLICE}",
        {"after": 0, "slice": 1000, "now_ms": world.now_ms, "protects_immutable": True},
    )
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


def test_a_slice_is_found_by_indexes_alone_where_statistics_were_never_gathered(world: World) -> None:
    """Left to itself the server would sort all repositories to find the next of them."""
    from model.db.connection import db
    from model.gc import find

    for n in range(20):
        world.repository(f"new{n}")
    plan = db.execute_sql(
        f"EXPLAIN (COSTS OFF) {find.IN_SLICE}",
        find.slice_params(after=0, slice=5, policy=DEFAULT, now_ms=world.now_ms),
    ).fetchall()
    shown = "\n".join(line for (line,) in plan)
    assert "Seq Scan" not in shown and "Bitmap" not in shown, shown
    assert "Index Scan using repository_pkey on repository" in shown
    assert "Index Scan using tag_repository_id_lifetime_end_ms on tag" in shown


def _candidate(world: World, repository: int) -> None:
    execute(
        "INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms) VALUES (%s, 1, 1)",
        (int(repository),),
    )


@pytest.mark.parametrize("hindrance", ["disabled", "marked", "failing"])
def test_case_52_garbage_that_may_not_be_collected_hides_none_that_may(world: World, hindrance: str) -> None:
    """The oldest rows of each kind belong to somebody who is not collected now."""
    owner = world.namespace(enabled=hindrance != "disabled")
    stuck = world.repository(namespace=owner, state=3 if hindrance == "marked" else 0)
    if hindrance == "failing":
        later_ms = world.now_ms + HOUR_MS
        world.execute("INSERT INTO dredge_failure VALUES (%s, 1, %s, 'poison')", (int(stuck), later_ms))
    free = [world.repository() for _ in range(3)]
    for n in range(5):
        world.uploaded(world.blob(), repository=stuck, expires_ms=1 + n)
        world.upload(repository=stuck, created_ms=1 + n)
        world.insert("dredge_manifest_candidate", repository_id=int(stuck), manifest_id=n, created_ms=1)
    world.uploaded(world.blob(), repository=free[0], expires_ms=1_000)
    world.upload(repository=free[1], created_ms=1_000)
    world.insert("dredge_manifest_candidate", repository_id=int(free[2]), manifest_id=1, created_ms=2)
    found = find_others(policy=DEFAULT, now_ms=world.now_ms, limit=2)
    assert {due.repository_id for due in found} == {int(repository) for repository in free}
