"""Statements that are planned once per connection, and sent whole where that is not possible."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import IntEnum

import pytest

from model.db import connection as database
from model.db.arrays import BigIntArray, IntArray
from model.db.connection import fetch
from model.db.prepared import run, run_one
from model.db.text_array import TextArray
from model.errors import DatabaseUnavailable
from model.gc.collect import collect_batch
from model.policy import DEFAULT
from tests.support.world import World


class Answer(IntEnum):
    """An int that is more than an int."""

    RIGHT = 42


def prepared() -> set[str]:
    return {row.name for row in fetch("SELECT name FROM pg_prepared_statements")}


def test_a_statement_is_prepared_once_for_each_connection(database: str) -> None:
    sql = "SELECT %(n)s + 1 AS n, %(yes)s AS yes, %(ids)s AS ids, %(many)s AS many, %(words)s AS words"
    params = {
        "n": 41,
        "yes": True,
        "ids": IntArray([1, 2]),
        "many": BigIntArray([2**40]),
        "words": ["it's", "%s"],
    }
    with _held():
        before = prepared()
        for _ in range(3):
            row = run_one(sql, params)
            assert (row.n, row.yes, row.ids, row.many, row.words) == (
                42,
                True,
                [1, 2],
                [2**40],
                ["it's", "%s"],
            )
        assert len(prepared() - before) == 1


@pytest.mark.parametrize("prepare", [True, False])
def test_an_array_of_texts_arrives_as_it_was(world: World, prepare: bool) -> None:
    database.configure(world.url, pooled=not prepare)
    texts = ["a", "", "NULL", None, 'x"y\\z', "it's", "{,}", "é☃", " b ", "%s %(ids)s", "\n", "\\'"]
    for given in (texts, []):
        assert run_one("SELECT %(texts)s AS texts", {"texts": TextArray(given)}).texts == given


def test_a_subclass_of_int_is_an_int(database: str) -> None:
    assert run_one("SELECT %(n)s AS n", {"n": Answer.RIGHT}).n == 42


@pytest.mark.parametrize("prepare", [True, False])
def test_a_collection_is_the_same_behind_a_pooler(world: World, prepare: bool) -> None:
    database.configure(world.url, pooled=not prepare)
    gone = world.tag("old", manifest=world.manifest(blobs=[world.blob()], labels=1), ended_ms=1)
    world.tag("bystander")
    with _held():
        with world.only_removes(tag=gone, manifest=gone.manifest, label=_label(world)):
            collect_batch(world.repository_id, policy=DEFAULT, limit=10)
        assert bool(prepared()) == prepare


def test_a_statement_is_prepared_again_on_a_connection_that_replaces_an_ended_one(world: World) -> None:
    with _held():
        assert run_one("SELECT %(n)s AS n", {"n": 1}).n == 1
        world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(DatabaseUnavailable):
            database.execute("SELECT 1")
        assert run_one("SELECT %(n)s AS n", {"n": 2}).n == 2


def test_without_preparation_the_parameters_are_the_same(world: World) -> None:
    database.configure(world.url, pooled=True)
    assert [row.id for row in run("SELECT unnest(%(ids)s) AS id", {"ids": IntArray([3, 4])})] == [3, 4]


def _held() -> AbstractContextManager[None]:
    return database.connection()


def _label(world: World) -> int:
    return int(world.value("SELECT min(id) FROM label"))
