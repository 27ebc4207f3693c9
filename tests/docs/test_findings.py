"""Every finding is on its page where there is one, and some test of its command produces it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.findings import FINDINGS, FIXED, findings_page
from worker.cli.status import SECTIONS

ROOT = Path(__file__).parents[2]
STORIES = {path: path.read_text() for path in (ROOT / "tests" / "worker").rglob("test_*.py")}
CHECKS = ("check.py", "check_servers.py", "finding.py")
# A few words that follow each other are enough to know a sentence again.
RUN = 3


def test_the_page_of_findings_is_what_the_checks_say() -> None:
    assert FINDINGS.read_text() == findings_page(), "run `make docs`"


@pytest.mark.parametrize("name", [check.name for check in FIXED])
def test_each_finding_of_fsck_is_produced_by_a_test(name: str) -> None:
    assert any(f'"{name}"' in text for text in STORIES.values())


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z_]+", text)


def runs(text: str) -> set[tuple[str, ...]]:
    """Every run of a few words."""
    found = words(text)
    return {tuple(found[n : n + RUN]) for n in range(len(found) - RUN + 1)}


def sentences(path: Path) -> Iterator[str]:
    """The texts of a module that are long enough to be a finding, without docstrings and options."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef) and not function.decorator_list:
            told = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant)]
            docstring = ast.get_docstring(function, clean=False)
            for text in told:
                if isinstance(text, str) and len(words(text)) >= RUN and text != docstring:
                    yield text


@pytest.mark.parametrize("module", CHECKS)
def test_each_sentence_of_check_is_expected_by_a_test(module: str) -> None:
    expected = set[tuple[str, ...]]().union(*(runs(text) for text in STORIES.values()))
    said = list(sentences(ROOT / "worker" / "cli" / module))
    assert said and [sentence for sentence in said if not runs(sentence) & expected] == []


def headings() -> Iterator[str]:
    """The first column of each table of the status, which names what it shows."""
    for section in SECTIONS:
        tree = ast.parse(Path(section.__code__.co_filename).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Table":
                columns = node.args[0]
                if isinstance(columns, ast.Tuple) and isinstance(columns.elts[0], ast.Constant):
                    yield str(columns.elts[0].value)


def test_each_table_of_the_status_is_shown_in_a_test() -> None:
    found = set(headings())
    assert len(found) >= 10
    shown = "\n".join(text for path, text in STORIES.items() if path.parent.name == "cli")
    assert {name for name in found if name not in shown} == set()
