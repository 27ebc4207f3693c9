"""One word for one thing: words that the project gave up stay away from code and documentation."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Each with the word to use instead.
GIVEN_UP = {
    r"sighting|\bsighted\b|condemn\w*": "orphan, mark, confirm",
    r"\bstones?\b": "tombstone",
    r"\bkin\b|\bkeepers?\b": "referrer, subject, holder",
    r"\bflocks?\b": "burst",
    r"\btoolbox\b|\breactor\b|\bkillsweep\b": "job context, background threads, crash points",
    r"\bforgiv\w+|\blet_go\b|\blingers_ms\b|\bupkeep\b": "clear, release, late_delete_ms, maintenance",
    r"\bbroker_forgot\b|\bremember_epoch\b|\bcensus\b": "broker_was_flushed, mark_epoch, reachability",
    r"\blost_blobs\b|\bunheard\b|\breactor\.deaf\b": "blob_candidates, renew_failed, listen_failed",
    r"\bspeaks? of\b|lost its memory|\bis away\b": "refers to, was flushed, is unavailable",
    r"[Aa]gain changes nothing|[Aa]gain adds none": "Idempotent.",
    r"without a trace": "orphan",
}
# The old table's name stands in its own migrations; test names of the cases keep their words.
EXCUSED = ("model/migrations/", "docs/explanation/cases.md", "docs/figures/")


def _texts() -> dict[str, str]:
    places = [ROOT / "celeryconfig.py", ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]
    for top, pattern in (("model", "*.py"), ("worker", "*.py"), ("bench", "*.py"), ("docs", "*.md")):
        places += sorted((ROOT / top).rglob(pattern))
    named = {str(path.relative_to(ROOT)): path for path in places}
    return {name: path.read_text() for name, path in named.items() if not name.startswith(EXCUSED)}


def test_words_that_were_given_up_do_not_come_back() -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1} {match[0]!r}: say {instead}"
        for name, text in _texts().items()
        for pattern, instead in GIVEN_UP.items()
        for match in re.finditer(pattern, text)
    ]
    assert found == []


def test_no_mark_of_a_conflict_was_left_behind() -> None:
    texts = _texts() | {"CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text()}
    assert [name for name, text in texts.items() if re.search(r"^(<{7} |={7}$|>{7} )", text, re.M)] == []
