"""Contenders must do the same work, or their times say nothing."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import pytest

from bench.__main__ import BENCHES
from bench.baseline import run_baseline
from bench.collect import run_collector
from bench.contest import Disagreement, agree
from bench.figure import Figure
from bench.floor import run_floor
from model.db.connection import connection
from tests.support.databases import Databases
from worker.local.sample import Shape, fill


def test_every_contender_removes_the_same_rows(databases: Databases) -> None:
    shape = Shape(manifests=200, repositories=8, aborted=0.2)
    runs = {}
    for name, contender, *arguments in (
        ("collector", run_collector),
        ("floor", run_floor, True),
        ("floor at once", run_floor, False),
        ("row by row", run_baseline, math.inf),
    ):
        with databases.clone() as url:
            with connection():
                fill(shape)
            runs[name] = contender(url, *arguments)
    for name, run in runs.items():
        agree(name, run, "collector", runs["collector"])
        assert run.manifests > 50
        assert run.removed("imagestorage") > 50
    assert runs["collector"].statements < runs["row by row"].statements / 10


def test_a_contender_that_leaves_a_row_behind_is_caught(databases: Databases) -> None:
    with databases.clone() as url:
        with connection():
            fill(Shape(manifests=50, repositories=2))
        run = run_floor(url, True)
    other = replace(run, left={**run.left, "tag": run.left["tag"] + 1})
    with pytest.raises(Disagreement, match="tag"):
        agree("one", run, "other", other)


def test_a_figure_has_the_four_keys_that_scripts_rely_on() -> None:
    shown = Figure("collect", "seconds", 1.5, "s", "at most 2").as_json()
    assert shown == {"bench": "collect", "figure": "seconds", "value": 1.5, "unit": "s"}


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_can_be_run(name: str) -> None:
    assert callable(importlib.import_module(f"bench.{name}").run)
