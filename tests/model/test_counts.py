"""Results are frozen, and they add."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model.counts import Counts
from worker.jobs.erase_outcome import Cleared

ROOT = Path(__file__).parents[2]
# What the sample's generator fills.
BUILDERS = {"worker/local/images.py:LayoutBuilder", "worker/local/sample/rows.py:Repository"}


@dataclass(frozen=True)
class Turn(Counts):
    kind: str = "tag"
    rows: int = 0
    names: tuple[str, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    has_more: bool = False
    stopped: str | None = None


def test_numbers_and_groups_add_and_the_later_result_says_what_is_left() -> None:
    first = Turn(rows=2, names=("a",), errors={1: "x"}, has_more=True)
    later = Turn(rows=3, names=("b",), errors={2: "y"}, stopped="held")
    assert first + later == Turn(
        rows=5, names=("a", "b"), errors={1: "x", 2: "y"}, has_more=False, stopped="held"
    )
    assert first == Turn(rows=2, names=("a",), errors={1: "x"}, has_more=True)


def test_a_turn_of_the_eraser_has_more_if_one_of_its_parts_has() -> None:
    sums = Cleared(objects=1, has_more=True) + Cleared(objects=2, stopped="held") + Cleared()
    assert sums == Cleared(objects=3, has_more=True, stopped="held")


def test_every_result_is_frozen() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{node.name}"
        for top in ("model", "worker")
        for path in (ROOT / top).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if "dataclass" in ast.unparse(decorator) and "frozen=True" not in ast.unparse(decorator)
    }
    assert found == BUILDERS
