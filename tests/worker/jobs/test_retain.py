"""The job that runs retention rules, its schedule, its warnings, and the load of digests in use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.controls.holds import set_hold
from model.db.clock import now_ms
from model.db.connection import fetch_one
from model.db.prepared import run
from model.in_use import StaleInUseList, replace_in_use
from model.retention import apply, facts
from model.retention.file import BadPolicyFile
from model.retention.find import list_problems
from model.retention.stored import store_rules
from tests.model.purge.conftest import quay
from tests.model.retention.retaining import DAY_MS, aged, alive, namespace_policy
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import Recorded, make_context
from tests.support.quay_rows import fill
from tests.support.servers.http import Handler, serving
from tests.support.world import World
from worker.jobs import retain
from worker.jobs.context import JobContext
from worker.jobs.in_use import InUseSourceUnavailable, load_in_use, read_pods, read_source
from worker.jobs.prune import prune
from worker.jobs.retain import enqueue_retention, retain_repository
from worker.settings import Settings

__all__ = ["quay"]

RULES = "rules:\n- {name: old, action: expire, older_than: 1d}\n"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def context(tmp_path: Path, **settings: object) -> JobContext:
    return make_context(tmp_path / "objects", settings=Settings(**settings))  # type: ignore[arg-type]


def queued(box: JobContext) -> list[int]:
    assert isinstance(box.queue, Recorded)
    found, box.queue.retentions = box.queue.retentions, []
    return found


def test_only_repositories_with_a_rule_are_visited_and_once_an_interval(world: World, tmp_path: Path) -> None:
    other = world.namespace("other")
    world.repository("bare", namespace=other)
    mine = world.repository("app2")
    world.repository("marked", state=3)
    world.repository("readonly", state=1)
    namespace_policy(world, {"method": "number_of_tags", "value": 1})
    box = context(tmp_path, autoprune=True)
    assert enqueue_retention(box) == 1 and queued(box) == [mine]
    retain_repository(box, mine, budget_s=PATIENCE_S)
    assert enqueue_retention(box) == 0 and queued(box) == []
    world.execute("UPDATE dredge_retention SET last_ran_ms = last_ran_ms - 3601000")
    assert enqueue_retention(box) == 1


def test_a_file_of_rules_visits_every_repository(world: World, tmp_path: Path, rules: Path) -> None:
    found = {int(world.repository(f"r{n}", namespace=world.namespace())) for n in range(3)}
    box = context(tmp_path, retention_file=str(rules), scan_slice=2)
    assert enqueue_retention(box) == 2 and enqueue_retention(box) == 1
    assert set(queued(box)) == found


def test_rules_in_the_database_visit_every_repository(world: World, tmp_path: Path) -> None:
    aged(world, "v1", 9)
    box = context(tmp_path)
    assert enqueue_retention(box) == 0
    store_rules(RULES, author="ann")
    assert enqueue_retention(box) == 1 and queued(box) == [world.repository_id]
    assert retain_repository(box, world.repository_id, budget_s=PATIENCE_S).ended == 1
    assert alive(world) == set()


def test_without_rules_nothing_is_looked_at(world: World, tmp_path: Path) -> None:
    namespace_policy(world, {"method": "number_of_tags", "value": 1})
    box = context(tmp_path)
    with world.changes() as changes:
        assert enqueue_retention(box) == 0
    assert not changes


def test_a_wrong_file_stops_everything_and_is_named(world: World, tmp_path: Path, rules: Path) -> None:
    rules.write_text("rules:\n- {name: old, action: destroy}\n")
    aged(world, "v1", 9)
    box = context(tmp_path, retention_file=str(rules))
    with world.changes() as changes:
        with pytest.raises(BadPolicyFile, match="line 2: rule 'old': action"):
            enqueue_retention(box)
        with pytest.raises(BadPolicyFile):
            retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
        with pytest.raises(BadPolicyFile, match="cannot be read"):
            retain_repository(
                context(tmp_path, retention_file=str(tmp_path)), world.repository_id, budget_s=PATIENCE_S
            )
    assert not changes


def test_more_tags_than_one_batch_end_in_one_turn(world: World, tmp_path: Path, rules: Path) -> None:
    manifest = world.manifest()
    for n in range(450):
        aged(world, f"t{n}", 9, manifest=manifest)
    aged(world, "new", 0)
    box = context(tmp_path, retention_file=str(rules))
    retained = retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
    assert (retained.ended, retained.has_more) == (450, False)
    assert alive(world) == {"new"}
    assert retain_repository(box, world.repository_id, budget_s=PATIENCE_S).ended == 0


def test_a_turn_that_is_over_goes_on_in_another(world: World, tmp_path: Path, rules: Path) -> None:
    manifest = world.manifest()
    for n in range(250):
        aged(world, f"t{n}", 9, manifest=manifest)
    box = context(tmp_path, retention_file=str(rules))
    first = retain_repository(box, world.repository_id, budget_s=0)
    assert (first.ended, first.has_more) == (200, True)
    assert world.rows("SELECT * FROM dredge_retention") == []
    assert retain_repository(box, world.repository_id, budget_s=0).ended == 50


def many(world: World, name: str, count: int, *, age_ms: int) -> None:
    """Tags of one manifest, of an age."""
    world.execute(
        "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, hidden, reversion,"
        " tag_kind_id, immutable) SELECT %s || n, %s, %s, %s, false, false,"
        " (SELECT id FROM tagkind WHERE name = 'tag'), false FROM generate_series(1, %s) n",
        (name, world.repository_id, int(world.manifest()), world.now_ms - age_ms, count),
    )


@pytest.mark.parametrize("kind", ["age", "count"])
def test_what_the_turns_on_a_giant_repository_read_is_in_proportion_to_the_tags_that_they_end(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    many(world, "old", 60, age_ms=9 * DAY_MS)
    many(world, "new", 840, age_ms=0)
    rule = "older_than: 1d" if kind == "age" else "newest: 840"
    path = tmp_path / "rules.yaml"
    path.write_text(f"rules:\n- {{name: old, action: expire, {rule}}}\n")
    monkeypatch.setattr(retain, "BATCH", 2)
    read = []

    def counted(text: str, params: Any, **more: Any) -> Any:
        rows = run(text, params, **more)
        read.append(len(rows))
        return rows

    def counted_ids(text: str, params: Any) -> Any:
        row = fetch_one(text, params)
        read.append(row.n)
        return row

    monkeypatch.setattr(facts, "run", counted)
    monkeypatch.setattr(apply, "fetch_one", counted_ids)
    box = context(tmp_path, retention_file=str(path))
    ended, has_more = 0, True
    while has_more:
        turn = retain_repository(box, world.repository_id, budget_s=0)
        ended, has_more = ended + turn.ended, turn.has_more
    assert ended == 60 and len(alive(world)) == 840
    # The judgements read in proportion; one more read belongs to the visit, and each tag is read once more.
    looked_up = retain.READ_PER_ENDED * ended if kind == "count" else 0
    assert sum(read) <= retain.READ_PER_ENDED * ended + 900 + ended + looked_up


def test_quays_status_row_is_kept_and_a_skipped_policy_is_seen_there(quay: World, tmp_path: Path) -> None:
    namespace_policy(quay, {"method": "number_of_tags", "value": 1})
    fill(quay, "autoprunetaskstatus", namespace_id=quay.namespace_id)
    aged(quay, "v1", 9)
    aged(quay, "v2", 8)
    box = context(tmp_path, autoprune=True)
    retain_repository(box, quay.repository_id, budget_s=PATIENCE_S)
    ((status, ran_ms),) = quay.rows("SELECT status, last_ran_ms FROM autoprunetaskstatus")
    assert status == "success" and abs(ran_ms - now_ms()) < DAY_MS
    assert alive(quay) == {"v2"}
    namespace_policy(quay, "{broken")
    retain_repository(box, quay.repository_id, budget_s=PATIENCE_S)
    assert "not JSON" in quay.value("SELECT status FROM autoprunetaskstatus")
    (problem,) = list_problems(limit=9)
    assert problem.repository == "acme/app" and "not JSON" in problem.problems


def test_a_stale_list_of_digests_in_use_is_seen(world: World, tmp_path: Path, rules: Path) -> None:
    aged(world, "v1", 9)
    box = context(tmp_path, retention_file=str(rules), in_use_source="/nowhere")
    with pytest.raises(StaleInUseList):
        retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
    assert alive(world) == {"v1"}
    (problem,) = list_problems(limit=9)
    assert "digests in use is missing or too old" in problem.problems
    replace_in_use(["sha256:" + "a" * 64])
    assert retain_repository(box, world.repository_id, budget_s=PATIENCE_S).ended == 1
    assert list_problems(limit=9) == []


# -------------------------------------------------------------------------- warnings


def test_what_will_end_is_announced_once(world: World, tmp_path: Path, rules: Path) -> None:
    world.tag("expires", ended_ms=world.now_ms + 2 * DAY_MS)
    world.tag("later", ended_ms=world.now_ms + 30 * DAY_MS)
    rules.write_text("rules:\n- {name: old, action: expire, older_than: 10d, tags: 'pr-*'}\n")
    aged(world, "pr-1", 8)
    aged(world, "pr-2", 1)
    box = context(tmp_path, retention_file=str(rules), expiry_warning_days=3)
    assert retain_repository(box, world.repository_id, budget_s=PATIENCE_S).warned == 2
    told = world.rows("SELECT subject, data FROM dredge_event WHERE type = 'registry.tag.expiring'")
    found = {subject: json.loads(data) for subject, data in told}
    assert {name: data["rule"] for name, data in found.items()} == {
        "acme/app:expires": "expiry",
        "acme/app:pr-1": "old",
    }
    assert found["acme/app:expires"]["expires_by_ms"] == world.now_ms + 2 * DAY_MS
    assert retain_repository(box, world.repository_id, budget_s=PATIENCE_S).warned == 0
    world.execute("UPDATE tag SET lifetime_end_ms = lifetime_end_ms - 1000 WHERE name = 'expires'")
    assert retain_repository(box, world.repository_id, budget_s=PATIENCE_S).warned == 1


def test_for_the_end_and_for_the_warning_the_tags_are_read_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n- {name: old, action: expire, older_than: 10d}\n")
    for name, days in (("ends", 11), ("soon", 8), ("stays", 1)):
        aged(world, name, days)
    read = []

    def counted(text: str, params: Any, **more: Any) -> Any:
        rows = run(text, params, **more)
        read.append(sorted(row.name for row in rows))
        return rows

    monkeypatch.setattr(facts, "run", counted)
    box = context(tmp_path, retention_file=str(path), expiry_warning_days=3)
    turn = retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
    assert (turn.ended, turn.warned, alive(world)) == (1, 1, {"soon", "stays"})
    # The second reading is that of the batch that ends.
    assert read == [["ends", "soon", "stays"], ["ends"]]
    assert world.rows("SELECT subject FROM dredge_event WHERE type = 'registry.tag.expiring'") == [
        ("acme/app:soon",)
    ]


def test_under_a_hold_what_would_end_now_is_announced_too(world: World, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n- {name: old, action: expire, older_than: 10d}\n")
    for name, days in (("ends", 11), ("soon", 8), ("stays", 1)):
        aged(world, name, days)
    set_hold(namespace_id=0, repository_id=0, reason="audit", author="ann", until_ms=None)
    box = context(tmp_path, retention_file=str(path), expiry_warning_days=3)
    turn = retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
    assert (turn.ended, turn.warned, alive(world)) == (0, 2, {"ends", "soon", "stays"})
    told = world.rows("SELECT subject FROM dredge_event WHERE type = 'registry.tag.expiring' ORDER BY 1")
    assert told == [("acme/app:ends",), ("acme/app:soon",)]


# --------------------------------------------------------------------------- sources

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
PODS = {
    "items": [
        {
            "spec": {"containers": [{"image": f"registry/acme/app@{A}"}, {"image": "registry/acme/app:v1"}]},
            "status": {
                "containerStatuses": [{"image": "registry/acme/app:v1", "imageID": f"registry/acme/app@{B}"}],
                "initContainerStatuses": None,
            },
        }
    ],
    "metadata": {"continue": "next"},
}


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An HTTP server with a list, a broken answer, and the pods of a cluster on two pages."""

    class Lists(Handler):
        def do_GET(self) -> None:
            if self.path.startswith("/list"):
                self.answer(200, f"{A}\nregistry/acme/app@{B}\n".encode())
            elif self.headers["Authorization"] == "Bearer secret" and self.path.startswith("/api/v1/pods"):
                last = {"items": [{"status": {"containerStatuses": [{"imageID": C}]}}], "metadata": {}}
                self.answer(200, json.dumps(last if "continue=next" in self.path else PODS).encode())
            else:
                self.answer(500, A.encode())

    with serving(Lists) as port:
        yield f"http://127.0.0.1:{port}"


def test_the_list_comes_from_a_file_or_an_endpoint(world: World, tmp_path: Path, endpoint: str) -> None:
    path = tmp_path / "running"
    path.write_text(json.dumps({"running": [A, C]}))
    assert load_in_use(Settings(in_use_source=str(path))) == 2
    assert load_in_use(Settings(in_use_source=f"{endpoint}/list")) == 2
    assert world.rows("SELECT digest FROM dredge_in_use ORDER BY 1") == [(A,), (B,)]
    assert load_in_use(Settings()) == 0


def test_the_pods_of_a_cluster_are_read_page_after_page(endpoint: str) -> None:
    assert set(read_pods(endpoint, token="secret")) == {A, B, C}


def test_a_source_that_fails_leaves_the_list_from_before(world: World, tmp_path: Path, endpoint: str) -> None:
    replace_in_use([A])
    with world.changes() as changes:
        for source in (f"{endpoint}/broken", str(tmp_path / "missing"), "http://127.0.0.1:1/", "kubernetes"):
            with pytest.raises(InUseSourceUnavailable):
                load_in_use(Settings(in_use_source=source))
    assert not changes
    with pytest.raises(InUseSourceUnavailable, match="does not run in a pod"):
        read_source("kubernetes")


def test_what_is_remembered_of_what_is_gone_is_pruned(world: World, tmp_path: Path, rules: Path) -> None:
    world.tag("expires", ended_ms=world.now_ms + 2 * DAY_MS)
    aged(world, "v1", 9)
    box = context(tmp_path, retention_file=str(rules), expiry_warning_days=3, history_days=1)
    retain_repository(box, world.repository_id, budget_s=PATIENCE_S)
    with world.changes() as changes:
        prune(box, budget_s=PATIENCE_S)
    assert not changes
    world.execute("UPDATE dredge_ended_tag SET ended_ms = ended_ms - %s", (2 * DAY_MS,))
    world.execute("DELETE FROM tag")
    world.execute("UPDATE dredge_retention SET repository_id = 9999")
    prune(box, budget_s=PATIENCE_S)
    for table in ("dredge_ended_tag", "dredge_expiry_warning", "dredge_retention"):
        assert world.rows(f"SELECT * FROM {table}") == []
