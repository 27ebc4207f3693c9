"""Rules against a registry that changes: whatever happened since the judgement wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from model import registry
from model.controls.holds import set_hold
from model.gc.collect import collect_batches
from model.gc.inspect.explain import explain
from model.gc.inspect.plan import plan_repository
from model.in_use import EmptyInUseList, StaleInUseList, read_age_ms, replace_in_use
from model.policy import DEFAULT
from model.retention.apply import EndedBatch, end_chosen, judge_repository
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule
from tests.model.retention.retaining import DAY_MS, QUAY, aged, alive, fileless, namespace_policy, retain
from tests.support.world import World

OLD = Rule("old", "expire", older_than_ms=DAY_MS)


def test_a_push_of_an_index_keeps_its_children_although_a_newer_tag_ends_with_the_old_ones(
    world: World,
) -> None:
    child = world.manifest()
    aged(world, "old", 9, manifest=world.manifest(children=[child]))
    aged(world, "newer", 2)
    pushed = aged(world, "$temp-1", 5, manifest=child, hidden=True, ended_ms=world.now_ms + DAY_MS)
    left = aged(world, "$temp-2", 9, manifest=child, hidden=True, ended_ms=world.now_ms + DAY_MS)
    assert retain(world.repository_id, fileless(OLD))[0] == {"old", "newer"}
    ends = dict(world.rows("SELECT id, lifetime_end_ms FROM tag WHERE hidden"))
    assert ends[int(pushed)] == world.now_ms + DAY_MS and ends[int(left)] < world.now_ms + DAY_MS


def _end_after(world: World, change: Callable[[], object], retention: RetentionPolicy) -> EndedBatch:
    """Judge, let the change happen, then end what was judged."""
    judged = judge_repository(world.repository_id, policy=DEFAULT, retention=retention)
    assert judged.chosen
    change()
    return end_chosen(judged, judged.chosen, policy=DEFAULT, retention=retention)


@pytest.mark.parametrize("what", ["moved", "immutable", "pulled", "expiry", "running", "deleted"])
def test_case_73_a_tag_that_changed_since_the_judgement_is_left(world: World, what: str) -> None:
    tag = aged(world, "v1", 9)
    aged(world, "v2", 9)
    other = world.manifest()
    rule = replace(OLD, not_pulled_for_ms=1)
    changes: dict[str, Callable[[], object]] = {
        "moved": lambda: registry.retarget_tag("acme/app", "v1", int(other)),
        "immutable": lambda: registry.set_tag_immutable("acme/app", "v1"),
        "pulled": lambda: world.tag_pulls("v1"),
        "expiry": lambda: registry.change_tag_expiration("acme/app", "v1", world.now_ms + DAY_MS),
        "running": lambda: replace_in_use([tag.manifest.digest]),
        "deleted": lambda: registry.delete_tag("acme/app", "v1"),
    }
    assert _end_after(world, changes[what], fileless(rule)).ended == 1
    assert alive(world) == ({"v1"} if what != "deleted" else set())
    audited = world.rows("SELECT tag FROM dredge_ended_tag")
    assert audited == [("v2",)]


def test_case_73_where_the_policy_changed_nothing_is_ended(world: World) -> None:
    namespace_policy(world, {"method": "number_of_tags", "value": 1})
    aged(world, "old", 2)
    aged(world, "new", 1)
    changed = """UPDATE namespaceautoprunepolicy SET policy = '{"method": "number_of_tags", "value": 2}'"""
    assert _end_after(world, lambda: world.execute(changed), QUAY) == EndedBatch(stale=True)
    assert alive(world) == {"old", "new"}


def test_where_one_of_the_newest_went_the_next_newest_is_not_ended(world: World) -> None:
    namespace_policy(world, {"method": "number_of_tags", "value": 1})
    aged(world, "old", 2)
    aged(world, "new", 1)
    assert _end_after(world, lambda: registry.delete_tag("acme/app", "new"), QUAY).stale
    assert alive(world) == {"old"}
    assert retain(world.repository_id)[0] == set()


def test_an_ended_tag_is_restorable_and_its_audit_says_until_when(world: World) -> None:
    tag = aged(world, "v1", 9)
    retain(world.repository_id, fileless(OLD))
    ((name, rule, author, ended_ms, until_ms),) = world.rows(
        "SELECT tag, rule, author, ended_ms, restorable_until_ms FROM dredge_ended_tag"
    )
    assert (name, rule, author) == ("v1", "old", "file")
    assert until_ms - ended_ms == world.default_namespace.window_s * 1000
    registry.restore_tag("acme/app", "v1", tag.manifest.digest)
    assert alive(world) == {"v1"}


def test_a_held_repository_is_left_alone(world: World) -> None:
    aged(world, "v1", 9)
    held = partial(set_hold, repository_id=world.repository_id, reason="audit", author="me")
    assert _end_after(world, held, fileless(OLD)).stale
    assert alive(world) == {"v1"}


# ---------------------------------------------------------------------- digests in use


def test_case_75_what_runs_is_neither_ended_nor_collected(world: World) -> None:
    running = world.manifest(blobs=[world.blob(5)])
    child = world.manifest(blobs=[world.blob(6)])
    aged(world, "running", 9, manifest=running)
    aged(world, "index", 9, manifest=world.manifest(children=[child]))
    aged(world, "idle", 9)
    ended = world.manifest(blobs=[world.blob(7)])
    world.tag("ended", manifest=ended, ended_ms=1)
    world.tag("gone", ended_ms=1)
    replace_in_use([running.digest, child.digest, ended.digest])
    assert retain(world.repository_id, fileless(OLD))[0] == {"idle"}
    collect_batches([world.repository_id], policy=DEFAULT, limit=100)
    left = {id for (id,) in world.rows("SELECT id FROM manifest")}
    assert {running, child, ended} <= left
    assert world.value("SELECT count(*) FROM tag WHERE name = 'gone'") == 0
    replace_in_use([running.digest])
    world.execute("UPDATE dredge_manifest_candidate SET due_ms = 0")
    collect_batches([world.repository_id], policy=DEFAULT, limit=100)
    assert world.value("SELECT count(*) FROM manifest WHERE id = %s", (int(ended),)) == 0


def test_case_75_a_stale_list_ends_nothing_and_says_so(world: World) -> None:
    aged(world, "v1", 9)
    retention = fileless(OLD, in_use_max_age_ms=DAY_MS)
    for loaded in (False, True):
        if loaded:
            _load_two_days_ago(world)
        with world.changes() as changes, pytest.raises(StaleInUseList):
            retain(world.repository_id, retention)
        assert not changes
    replace_in_use(["sha256:" + "a" * 64])
    assert retain(world.repository_id, retention)[0] == {"v1"}


def _load_two_days_ago(world: World) -> None:
    replace_in_use(["sha256:" + "a" * 64])
    world.execute("UPDATE dredge_cursor SET moved_ms = moved_ms - %s", (2 * DAY_MS,))


def test_case_75_an_empty_list_leaves_the_one_from_before(world: World) -> None:
    digest = "sha256:" + "a" * 64
    replace_in_use([digest])
    with world.changes() as changes, pytest.raises(EmptyInUseList):
        replace_in_use([])
    assert not changes
    replace_in_use(["sha256:" + "b" * 64])
    assert world.rows("SELECT digest FROM dredge_in_use") == [("sha256:" + "b" * 64,)]
    age_ms = read_age_ms()
    assert age_ms is not None and age_ms < DAY_MS


def test_explain_says_that_a_manifest_runs_and_the_plan_leaves_it_out(world: World) -> None:
    running = world.manifest()
    world.tag("gone", manifest=running, ended_ms=1)
    replace_in_use([running.digest])
    found = explain(world.repository_id, running.digest, policy=DEFAULT)
    assert found is not None and found.kept and "runs somewhere" in found.reasons[0]
    plan = plan_repository(world.repository_id, policy=DEFAULT)
    assert plan is not None and plan.tags == ("gone",) and plan.digests == ()
