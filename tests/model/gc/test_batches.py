"""One batch of several repositories: a transaction for all of them, an account for each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bench.count import counted
from model.db.connection import connection
from model.errors import Contended
from model.gc import collect as collecting
from model.gc.collect import collect_batches
from model.gc.repository_lock import Scope
from model.policy import DEFAULT
from tests.support.world import Row, World


@pytest.fixture(autouse=True)
def bystander(world: World) -> Iterator[None]:
    """A tagged image of its own, and a repository with garbage that nobody asks for."""
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))
    other = world.repository("not-asked")
    left = world.tag("old", manifest=world.manifest(other), ended_ms=1)
    yield
    assert world.rows("SELECT id FROM tag WHERE id = %s", (int(left),))


def garbage(world: World, count: int, *, namespace: Row | None = None, blob: Row | None = None) -> list[Row]:
    """Repositories with one dead image each."""
    made = []
    for n in range(count):
        repository = world.repository(namespace=namespace)
        image = world.manifest(repository, blobs=[blob or world.blob(10 + n)])
        world.label(image)
        world.tag("old", manifest=image, ended_ms=1)
        made.append(repository)
    return made


def test_repositories_go_in_one_transaction_each_with_its_own_events_and_history(world: World) -> None:
    repositories = garbage(world, 3)
    batches = collect_batches(repositories, policy=DEFAULT, limit=100)
    assert [(batch.tags, len(batch.manifests), len(batch.blobs)) for batch in batches] == [(1, 1, 1)] * 3
    left = world.rows("SELECT id FROM tag WHERE repository_id = ANY(%s)", (list(map(int, repositories)),))
    assert not left
    history = world.rows("SELECT repository_id, tags, manifests, rows FROM dredge_collection ORDER BY 1")
    assert history == [(int(repository), 1, 1, batches[0].rows) for repository in repositories]
    told = [
        (repository_id, json.loads(data)["repository_id"], kind.rpartition(".")[0])
        for repository_id, kind, data in world.rows(
            "SELECT repository_id, type, data FROM dredge_event ORDER BY id"
        )
    ]
    assert told == [
        (id, id, kind)
        for id in map(int, repositories)
        for kind in ("registry.manifest", "registry.repository")
    ]
    owners = world.rows("SELECT repository_id FROM dredge_blob_candidate ORDER BY 1")
    assert owners == [(int(repository),) for repository in repositories]


def test_a_batch_takes_as_many_statements_for_thirty_repositories_as_for_two(world: World) -> None:
    few, many = garbage(world, 2), garbage(world, 30)
    counts = []
    with connection():
        collect_batches(garbage(world, 1), policy=DEFAULT, limit=100)  # prepares the statements
        for repositories in (few, many):
            with counted() as count:
                collect_batches(repositories, policy=DEFAULT, limit=100)
            counts.append(count.statements)
    assert counts[0] == counts[1]


def test_a_repository_that_somebody_else_collects_is_left_out_and_the_rest_goes(world: World) -> None:
    held, free = garbage(world, 2)
    world.execute("BEGIN")
    world.rows("SELECT pg_advisory_xact_lock(hashtext('dredge.collect'), %s)", (int(held),))
    try:
        with world.changes() as changes:
            first, second = collect_batches([held, free], policy=DEFAULT, limit=100)
    finally:
        world.execute("ROLLBACK")
    assert changes and first.scope is None and second.tags == 1
    assert world.rows("SELECT repository_id FROM tag WHERE name = 'old' AND repository_id = %s", (held,))


def test_quota_is_subtracted_in_each_repository_and_once_in_a_namespace(world: World) -> None:
    """Two repositories of one namespace drop the last references to one blob in one batch."""
    owner, shared = world.namespace(), world.blob(100)
    repositories = garbage(world, 2, namespace=owner, blob=shared)
    stays = world.manifest(repositories[0], blobs=[world.blob(7)])
    world.tag("stays", manifest=stays)
    for repository in repositories:
        world.quota(repository)
    collect_batches(repositories, policy=DEFAULT, limit=100)
    sizes = world.rows(
        "SELECT size_bytes FROM quotarepositorysize WHERE repository_id = ANY(%s) ORDER BY repository_id",
        (list(map(int, repositories)),),
    )
    assert sizes == [(7,), (0,)]
    query = "SELECT size_bytes FROM quotanamespacesize WHERE namespace_user_id = %s"
    assert world.value(query, (int(owner),)) == 7


def test_a_limit_that_cuts_a_batch_short_says_so_for_each_of_its_repositories(world: World) -> None:
    repositories = garbage(world, 4)
    batches = collect_batches(repositories, policy=DEFAULT, limit=2)
    assert sum(batch.tags for batch in batches) == 2
    assert all(batch.has_more for batch in batches)
    batches = collect_batches(repositories, policy=DEFAULT, limit=10)
    assert sum(batch.tags for batch in batches) == 2 and not any(batch.has_more for batch in batches)


def test_a_window_that_is_lengthened_in_mid_batch_rolls_all_of_it_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = garbage(world, 1), garbage(world, 1, namespace=world.namespace())
    real = collecting._close

    def lengthened(scopes: list[Scope], *rest: Any) -> None:
        owner = scopes[-1].namespace_id
        world.execute('UPDATE "user" SET removed_tag_expiration_s = 10^10 WHERE id = %s', (owner,))
        real(scopes, *rest)

    monkeypatch.setattr(collecting, "_close", lengthened)
    with pytest.raises(Contended):
        collect_batches([*first, *second], policy=DEFAULT, limit=100)
    wanted = [int(repository) for repository in (*first, *second)]
    assert len(world.rows("SELECT id FROM tag WHERE repository_id = ANY(%s)", (wanted,))) == 2
    assert not world.rows("SELECT id FROM dredge_event")
    assert not world.rows("SELECT id FROM dredge_collection")
