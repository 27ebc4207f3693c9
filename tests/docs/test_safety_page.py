"""docs/safety.md tells the truth about which test tries which case."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/safety.md").read_text()
ROW = re.compile(r"^\| (\d+) \| [SLAF ]+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
CASES = 54


def named_cases() -> set[tuple[int, str, str]]:
    """(case, words, file) of every test whose name says a case."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"^def (test_case_\w+)", path.read_text(), re.MULTILINE):
            parts = re.fullmatch(r"test_case_((?:\d+_)+)(\w+)", name)
            assert parts is not None
            for number in parts[1].strip("_").split("_"):
                found.add((int(number), parts[2].replace("_", " "), str(path.relative_to(ROOT))))
    return found


def test_every_case_has_a_test_and_the_page_names_them_all() -> None:
    told = {
        (int(number), words, path) for number, cell in ROW.findall(PAGE) for words, path in LINK.findall(cell)
    }
    assert {number for number, _, _ in told} == set(range(1, CASES + 1))
    assert told == named_cases()


def test_every_mutation_that_the_page_names_is_there() -> None:
    text = (ROOT / "tests/races/test_mutations.py").read_text()
    assert all(f"def {name}(" in text for name in re.findall(r"`(test_\w+)`", PAGE))
