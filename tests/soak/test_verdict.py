"""The black-box verdict: a history in which nothing is lost is accepted, each planted bug is found in it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.soak import verdict
from tests.soak.mutations import MUTATIONS
from tests.soak.synthetic import make_history
from tests.soak.verdict import Judge, judge_file, parse

OPERATIONS = 5_000
Lines = list[dict[str, Any]]


def judge(lines: Lines) -> list[str]:
    return [text.partition(":")[0] for text in Judge(map(parse, lines)).judge().wrong]


@pytest.mark.parametrize("seed", range(3))
def test_a_history_without_losses_is_accepted(seed: int) -> None:
    found = Judge(map(parse, make_history(OPERATIONS, seed))).judge()
    assert found.wrong == []
    assert found.counts["reads judged"] > OPERATIONS / 4


@pytest.mark.parametrize(("mutate", "finding"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_planted_bug_is_found(mutate: Callable[[Lines], None], finding: str) -> None:
    lines = list(make_history(OPERATIONS, 1))
    mutate(lines)
    assert set(judge(lines)) == {finding}


def test_a_history_is_a_file_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text("".join(json.dumps(line) + "\n" for line in make_history(500, 1)))
    assert judge_file(path).wrong == []


def test_the_verdict_uses_nothing_of_the_registry() -> None:
    tree = ast.parse(Path(verdict.__file__ or "").read_text())
    modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    modules += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    assert not [name for name in modules if name.split(".")[0] in ("model", "worker", "tests")]


def test_concurrent_operations_may_have_come_in_any_order() -> None:
    """Two pushes overlap: each may be the last.  After both only one of them."""
    one = {"op": "push", "begin": 1, "end": 3, "repository": 1, "tag": "v1", "digest": "one"}
    two = one | {"begin": 2, "end": 4, "digest": "two"}
    last = {"op": "final pull", "begin": 5, "end": 6, "repository": 1, "tag": "v1"}
    for digest in ("one", "two"):
        assert judge([one, two, last | {"digest": digest}]) == []
    assert judge([one, two, last | {"digest": None}]) == ["impossible read"]
    later = two | {"begin": 3.5}
    assert judge([one, later, last | {"digest": "one"}]) == ["impossible read"]


def test_what_nobody_was_told_may_come_true_at_any_time_or_never() -> None:
    told = {"op": "push", "begin": 1, "end": 2, "repository": 1, "tag": "v1", "digest": "told"}
    killed = told | {"begin": 0.5, "end": None, "digest": "killed"}
    last = {"op": "final pull", "begin": 9, "end": 10, "repository": 1, "tag": "v1"}
    for digest in ("told", "killed"):
        assert judge([told, killed, last | {"digest": digest}]) == []
    refused = killed | {"end": 3, "error": "ManifestGone", "facts": {"ttl_s": 1}}
    assert judge([told, refused, last | {"digest": "killed"}]) == ["impossible read"]
