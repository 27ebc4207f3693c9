"""The pages about safety name tests that exist, and all of them."""

from __future__ import annotations

import re

from tests.support.pages import CASE_ROW, CASES, ROOT, case_tests, refreshed_cases

SAFETY = (ROOT / "docs/explanation/safety.md").read_text()


def test_every_test_of_a_case_stands_on_the_page_of_cases() -> None:
    page = CASES.read_text()
    assert page == refreshed_cases(page), "run `make docs`"
    described = [int(row[1]) for row in CASE_ROW.finditer(page)]
    assert described == list(range(1, len(described) + 1))
    assert set(case_tests()) <= set(described), "describe the case in docs/explanation/cases.md"


def test_the_first_cases_all_have_tests() -> None:
    assert set(range(1, 55)) <= set(case_tests())


def test_every_mutation_that_the_page_names_is_there() -> None:
    text = (ROOT / "tests/races/test_mutations.py").read_text()
    assert all(f"def {name}(" in text for name in re.findall(r"`(test_\w+)`", SAFETY))
