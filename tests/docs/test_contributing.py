"""CONTRIBUTING sends a newcomer to files and names that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
QUESTIONS = re.findall(r"^\| ([^|]+\?) \| `([^`]+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)
FOLDERS = re.findall(r"`([\w/]+/)`", PAGE.partition("## Where do I find")[0])


def test_there_are_at_least_fifteen_questions() -> None:
    assert len(QUESTIONS) >= 15


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS)
def test_the_file_that_answers_a_question_defines_what_is_named(question: str, file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(rf"^(def|class|async def) {name}\b|^{name}\b.* = ", text, re.MULTILINE), question


def test_every_folder_of_the_map_is_there() -> None:
    inside = ("support/", "races/", "crashes/", "outages/", "soak/")
    gc = ("orphans/", "inspect/")
    places = [("tests/" if name in inside else "model/gc/" if name in gc else "") + name for name in FOLDERS]
    assert [place for place in places if not (ROOT / place).is_dir()] == []
