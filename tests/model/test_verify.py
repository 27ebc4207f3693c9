"""Certificates are accepted as they are written, and rejected after any change to them or to the database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from model.gc.collect import collect_batches
from model.gc.history import prune_history
from model.gc.review import review_batch
from model.policy import DEFAULT
from model.registry.deletions import delete_repository
from model.running_task import running_task
from model.verify import Verification, Verifier, open_snapshot
from tests.model.purge.conftest import NOW
from tests.model.purge.purging import purge
from tests.model.verify_mutations import MUTATIONS, Forger
from tests.support.world import Row, World

SEED = 20
TIMES = 1_000


def verify(url: str) -> Verification:
    with closing(open_snapshot(url)) as connection:
        return Verifier(connection).run()


def fill(world: World, repository: Row) -> None:
    """An index with children, a signed image, and images that share a blob; and a living bystander."""
    shared = world.blob(7)
    children = [world.manifest(repository, blobs=[shared, world.blob(n)]) for n in (10, 20)]
    world.tag("index", manifest=world.manifest(repository, children=children), ended_ms=1_000)
    image = world.manifest(repository, blobs=[shared])
    signature = world.manifest(repository, subject=image.digest, blobs=[world.blob(5)])
    world.tag("image", manifest=image, ended_ms=2_000)
    world.tag("signature", manifest=signature, ended_ms=3_000)
    world.tag("living", manifest=world.manifest(repository, blobs=[shared, world.blob(40)]))


@pytest.fixture
def run(world: World) -> Iterator[World]:
    """What batches of every stage leave: single ones, several repositories together, reviews, a purge."""
    named = running_task.set("a test")
    repositories = [world.repository() for _ in range(5)]
    for repository in repositories:
        fill(world, repository)
    for group in (repositories[:1], repositories[1:4]):
        collect_batches(list(map(int, group)), policy=DEFAULT, limit=100)
        review_batch(policy=DEFAULT, limit=100)
    # The index goes in one batch, and its children in the next.
    while any(batch.has_more for batch in collect_batches([int(repositories[4])], policy=DEFAULT, limit=1)):
        pass
    doomed = world.repository("doomed")
    fill(world, doomed)
    delete_repository(f"{doomed.namespace_name}/doomed")
    purge(int(doomed), limit=9, policy=NOW)
    review_batch(policy=DEFAULT, limit=3)
    review_batch(policy=DEFAULT, limit=100)
    yield world
    running_task.reset(named)


def test_every_certificate_of_a_run_is_accepted_and_together_they_name_all_that_died(run: World) -> None:
    verdict = verify(run.url)
    assert verdict.problems == ()
    assert run.value("SELECT count(*) FROM manifest") == 5
    assert (verdict.manifests, verdict.blobs) == (5 * 5 + 6, 5 * 3 + 5)
    assert verdict.certificates == run.value("SELECT count(*) FROM dredge_certificate") > 8


def test_a_certificate_says_why_under_which_window_and_by_which_task(world: World) -> None:
    child = world.manifest(blobs=[world.blob()])
    index = world.manifest(children=[child])
    world.tag("old", manifest=index, ended_ms=5_000)
    world.tag("kept", manifest=world.manifest())
    named = running_task.set("worker.tasks.garbage_collect_repo 17")
    collect_batches([world.repository_id], policy=DEFAULT, limit=100)
    running_task.reset(named)
    ((body, digests),) = world.rows("SELECT body::json, digests FROM dredge_certificate")
    assert (body["stage"], body["task"]) == ("collect", "worker.tasks.garbage_collect_repo 17")
    assert body["policy"]["referrers"] == "pin"
    assert body["windows_ms"] == {str(world.repository_id): world.default_namespace.window_s * 1000}
    dead = {id: (owner, since, holders) for id, owner, since, *holders in body["dead"]}
    assert dead[int(index)] == (world.repository_id, 5_000, [])
    assert dead[int(child)] == (world.repository_id, -(2**62), [int(index)])
    names = {bytes(digests).hex()[n * 64 : (n + 1) * 64] for n in range(2)}
    assert names == {manifest.digest.removeprefix("sha256:") for manifest in (child, index)}


def test_a_batch_that_is_rolled_back_leaves_no_gap_in_the_chain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, world.default_repository)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("lost")

    with monkeypatch.context() as patched:
        patched.setattr("model.gc.collect.settle", fail)
        with pytest.raises(RuntimeError):
            collect_batches([world.repository_id], policy=DEFAULT, limit=100)
    assert not world.rows("SELECT id FROM dredge_certificate")
    collect_batches([world.repository_id], policy=DEFAULT, limit=100)
    review_batch(policy=DEFAULT, limit=100)
    verdict = verify(world.url)
    assert verdict.problems == () and verdict.certificates == 2


def test_a_batch_without_a_certificate_does_not_hide_that_the_one_before_it_was_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, idle = (int(world.repository()) for _ in range(3))
    for repository in (first, second):
        fill(world, Row(repository))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("lost")

    collect_batches([first], policy=DEFAULT, limit=100)
    with monkeypatch.context() as patched:
        patched.setattr("model.gc.collect.settle", fail)
        with pytest.raises(RuntimeError):
            collect_batches([second], policy=DEFAULT, limit=100)
    collect_batches([idle], policy=DEFAULT, limit=100)
    collect_batches([second], policy=DEFAULT, limit=100)
    verdict = verify(world.url)
    assert verdict.problems == () and verdict.certificates == 2
    assert world.value("SELECT count(*) FROM tag WHERE name = 'living'") == 2


def test_certificates_go_with_their_history_and_what_is_left_is_still_accepted(run: World) -> None:
    young = run.value(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY finished_ms) FROM dredge_certificate"
    )
    assert prune_history(before_ms=young, limit=1) >= 1
    assert verify(run.url).problems == ()
    while prune_history(before_ms=young, limit=2):
        assert verify(run.url).problems == ()
    ages = "SELECT min(finished_ms) FROM {}"
    assert (
        run.value(ages.format("dredge_certificate"))
        == young
        == run.value(ages.format("dredge_collection") + " WHERE stage <> 'erase' AND manifests + blobs > 0")
    )
    assert verify(run.url).certificates > 0


def test_history_of_a_worker_that_writes_no_certificates_is_not_judged(run: World) -> None:
    run.insert(
        "dredge_collection", stage="collect", repository_id=1, started_ms=1, finished_ms=2, manifests=3
    )
    assert verify(run.url).problems == ()


def accepted_after(url: str, times: int) -> list[str]:
    """The mutations, of all kinds in turns, that are not rejected."""
    dice = random.Random(SEED)
    accepted = []
    with closing(psycopg2.connect(url)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ")
        for n in range(times):
            mutate = MUTATIONS[n % len(MUTATIONS)]
            mutate(Forger(connection, dice))
            if Verifier(connection).run():
                accepted.append(f"{mutate.__name__}, number {n} of seed {SEED}")
            connection.rollback()
    return accepted


def test_a_mutation_of_every_kind_is_rejected(run: World) -> None:
    assert accepted_after(run.url, len(MUTATIONS)) == []
    assert verify(run.url).problems == ()


@pytest.mark.slow
def test_every_one_of_a_thousand_mutations_is_rejected(run: World) -> None:
    assert accepted_after(run.url, TIMES) == []
