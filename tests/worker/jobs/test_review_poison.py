"""A blob whose review kills its process: every attempt was counted before, so it is alone in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model.db import connection as database
from model.db.connection import execute, transaction
from model.db.prepared import run_one
from model.errors import DatabaseUnavailable
from model.gc import review as model_review
from model.gc.failing import NO_END
from model.gc.poison import list_poison, retry
from model.gc.review_claim import claim_candidates
from model.policy import DEFAULT
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import make_context
from tests.support.world import Row, World
from worker.jobs import review as job
from worker.jobs.context import JobContext
from worker.settings import Settings

BATCH = 64
RANGES = "SELECT data::int, key::int, tries FROM dredge_poison WHERE stage = 'review.batch' ORDER BY key::int"


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    return make_context(tmp_path, settings=Settings(review_batch=BATCH))


def unused(world: World, count: int) -> list[Row]:
    """Dead blobs, candidates in the order of their ids, beside one that is in use."""
    world.tag("kept", manifest=world.manifest(blobs=[world.blob(digest="sha256:" + "b" * 64)]))
    blobs = [world.blob() for _ in range(count)]
    for blob in blobs:
        world.insert("dredge_blob_candidate", blob_id=blob, created_ms=1)
    return blobs


def left(world: World) -> list[int]:
    return [id for (id,) in world.rows("SELECT blob_id FROM dredge_blob_candidate ORDER BY id")]


def review_and_die(world: World, context: JobContext, deadly: Row) -> None:
    """Run a review in a process of its own, which dies when it has locked the blob."""

    def run_and_die(sql: str, params: Mapping[str, Any]) -> Any:
        found = run_one(sql, params)
        if int(deadly) in getattr(found, "locked", ()):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    pid = os.fork()
    if not pid:
        try:
            database.disown()
            database.configure(world.url)
            vars(model_review)["run_one"] = run_and_die
            job.review(context, budget_s=PATIENCE_S)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_case_67_a_blob_whose_review_kills_is_tried_alone_and_stops_no_other(
    world: World, context: JobContext
) -> None:
    blobs = unused(world, 200)
    deadly = blobs[21]
    review_and_die(world, context, deadly)
    assert left(world) == blobs and not list_poison(limit=5), "nobody knows which of the 64 it was"
    review_and_die(world, context, deadly)
    assert left(world) == blobs[16:], "eight at a time"
    review_and_die(world, context, deadly)
    assert left(world) == blobs[21:], "one at a time"
    (poisoned,) = list_poison(limit=5)
    assert (poisoned.stage, poisoned.key, poisoned.last_error) == ("review", str(int(deadly)), NO_END)
    assert job.review(context, budget_s=PATIENCE_S).blobs == 178 and left(world) == [int(deadly)]
    assert not world.rows(RANGES) and list_poison(limit=5) == [poisoned], "not before its time"
    retry("review")
    assert (
        job.review(context, budget_s=PATIENCE_S).blobs == 1 and not left(world) and not list_poison(limit=5)
    )
    assert world.value("SELECT count(*) FROM imagestorage") == 1


def test_what_stays_of_a_killed_batch_is_taken_in_large_parts_again(
    world: World, context: JobContext
) -> None:
    blobs = unused(world, BATCH)
    review_and_die(world, context, blobs[0])
    assert world.rows(RANGES) == [(0, world.value("SELECT max(id) FROM dredge_blob_candidate"), 1)]
    for _ in range(2):
        review_and_die(world, context, blobs[0])
    first = world.value("SELECT min(id) FROM dredge_blob_candidate")
    assert world.rows(RANGES) == [(first, first + 7, 2), (first + 7, first + BATCH - 1, 1)]
    assert job.review(context, budget_s=PATIENCE_S).blobs == BATCH - 1 and left(world) == [int(blobs[0])]


def test_an_outage_in_a_batch_counts_no_attempt(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused(world, 20)

    def away(**options: Any) -> model_review.Reviewed:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch, pytest.raises(DatabaseUnavailable):
        patch.setattr(job, "review_batch", away)
        job.review(context, budget_s=PATIENCE_S)
    assert [tries for _, _, tries in world.rows(RANGES)] == [0]
    assert job.review(context, budget_s=PATIENCE_S).blobs == 20 and not world.rows(RANGES)


def test_two_reviews_at_once_claim_different_candidates_and_leave_each_other_alone(
    world: World, context: JobContext
) -> None:
    unused(world, 30)
    mine = claim_candidates(policy=DEFAULT, limit=10, after_id=0)
    assert mine is not None and mine.more
    world.execute("BEGIN")
    world.rows("SELECT FROM dredge_poison FOR UPDATE")
    try:
        assert job.review(context, budget_s=PATIENCE_S).blobs == 20
        assert not model_review.review_batch(policy=DEFAULT, limit=10, claim=mine).candidates
    finally:
        world.execute("ROLLBACK")
    assert model_review.review_batch(policy=DEFAULT, limit=10, claim=mine).blobs == 10
    assert not left(world) and not world.rows(RANGES)


def test_a_range_whose_candidates_are_gone_is_forgotten(world: World, context: JobContext) -> None:
    unused(world, 5)
    assert claim_candidates(policy=DEFAULT, limit=5, after_id=0) is not None
    with transaction():
        execute("DELETE FROM dredge_blob_candidate")
    assert not job.review(context, budget_s=PATIENCE_S).candidates and not world.rows(RANGES)
    assert world.value("SELECT count(*) FROM imagestorage") == 6
