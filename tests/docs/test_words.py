"""One word for one thing: words that the project gave up stay away from code and documentation."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In code, tests and documents, each with the word to use instead.
GIVEN_UP = {
    r"\bsight(s|ed|ing|ings)?\b|condemn\w*|without a trace": "orphan, mark, confirm",
    r"dead\.look|sweep\.Look": "ManifestUse, read_manifest_uses, SliceResult",
    r"\b[Ss]tones?\b": "tombstone",
    r"\bkin\b|\bkeepers?\b": "referrer, subject, holder",
    r"\bflocks?\b|\bgather_s\b": "burst, batching delay",
    r"\b_?REACH\b|%\(reach\)s|\bupcoming\b|\bpeek\b|scope\.enter|gc[./]account\b": "a named fragment, quota",
    r"gc[./]expire\b": "purge_expired_tags",
    r"\bheal(s|ed|ing)?\b|\bbroker_forgot\b|\bremember_epoch\b": "republish, broker_was_flushed, mark_epoch",
    r"\bforgiv\w+|\blet_go\b|\blets? go\b|\blingers_ms\b|\bupkeep\b": "clear, release, maintenance",
    r"[Nn]eighbour|NEIGHBOUR|\bcensus\b": "Quay's cache, events, reachability",
    r"\btoolbox\b|make_toolbox|\breactor\b|\bdeaf\b": "job context, background threads, listen_failed",
    r"\bCast\b|\bArena\b|\bGround\b|\bYard\b|\bkillsweep\b|\bnasty\b": "actors, servers, crash points, races",
    r"\blost_blobs\b|\bunheard\b": "blob_candidates, renew_failed",
    r"[Aa]gain changes nothing|[Aa]gain adds none|a second run finds": "Idempotent.",
    r"\bspeaks? of\b|lost its memory|\bis away\b": "refers to, was flushed, is unavailable",
    r"\b[Mm]ost to \w+\.|random follows from it|least level": "Maximum rows. Random seed. Minimum log level.",
    r"\bcatalog\b": "introspection, references, catalogue of repositories",
    r"taken for what it says|that has to do\b": "Nothing is trusted until it is verified. Best effort.",
}
# In the code alone: as words of plain English they are welcome in tests and documents.
GIVEN_UP_IN_CODE = {
    r"\btold\b|\bhears?\b|\bheard\b": "published, received, recorded",
    r"\bhooks\b(?!\.example)|class Job\b": "signals, BaseTask",
    r"kind=\"alone\"|\(\"alone\"": "in-process, bypass",
    r"gathers?\b": "batching delay",
    r"import lookups|\blookups\.py|\bclass Lookups\b": "loaders, lookup rows",
}
# Each of these names had several meanings.
ONE_MEANING = ("Descriptor", "Found", "Job", "Slice", "Stage", "Tag", "Verdict", "Outcome")
# Migrations have the name of an old table; aliases and their test have the names of earlier versions.
ALIASES = ("worker/former_names.py", "tests/worker/cli/test_former_names.py")
EXCUSED = ("model/migrations/", "docs/figures/", "tests/docs/test_words.py", *ALIASES)
CODE = ("model/", "worker/", "celeryconfig.py")


def _texts() -> dict[str, str]:
    places = [ROOT / name for name in ("celeryconfig.py", "Makefile", "setup.cfg", "mkdocs.yml", "Procfile")]
    places += [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]
    for top in ("model", "worker", "bench", "tests", "docs", "deploy", ".github", ".ci"):
        places += sorted(path for path in (ROOT / top).rglob("*") if path.is_file())
    readable = [path for path in places if path.suffix not in (".pyc", ".png", ".gz")]
    named = {str(path.relative_to(ROOT)): path for path in readable}
    return {name: path.read_text() for name, path in named.items() if not name.startswith(EXCUSED)}


@pytest.mark.parametrize(("words", "tops"), [(GIVEN_UP, ("",)), (GIVEN_UP_IN_CODE, CODE)])
def test_words_that_were_given_up_do_not_come_back(words: dict[str, str], tops: tuple[str, ...]) -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1} {match[0]!r}: say {instead}"
        for name, text in _texts().items()
        if name.startswith(tops)
        for pattern, instead in words.items()
        for match in re.finditer(pattern, text)
    ]
    assert found == []


def test_a_name_that_had_several_meanings_has_one() -> None:
    """A row of a table may share its name with the value that is read from it."""
    classes = Counter(
        node.name
        for top in ("model", "worker")
        for path in (ROOT / top).rglob("*.py")
        if "tables" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert {name: classes[name] for name in ONE_MEANING if classes[name] > 1} == {}


def test_no_mark_of_a_conflict_was_left_behind() -> None:
    texts = _texts() | {"CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text()}
    assert [name for name, text in texts.items() if re.search(r"^(<{7} |={7}$|>{7} )", text, re.M)] == []


# The parts of a share, or a limit that is never one.
SHARES = ("model/controls/judgement.py", "model/gc/orphans/share.py", "worker/cli/tag.py", "worker/local/")
THINGS = "tags|repositories|manifests|blobs|objects|images|digests|rules|events|certificates|uploads|tables"
THINGS += "|namespaces|sessions|deliveries|violations|checks|failures|times|hours|days|locations"


def test_an_amount_is_written_by_the_helper_so_that_one_is_singular() -> None:
    """`counted(n, "tag")`, or the filter of that name on pages, writes "1 tag"."""
    amount = re.compile(rf"\{{(?![A-Z_]+\}})[^{{}}]*\}}+ ({THINGS})\b")
    found = [
        f"{name}: {match[0]}"
        for name, text in _texts().items()
        if name.startswith(("model/", "worker/")) and not name.startswith(SHARES)
        for match in amount.finditer(text)
    ]
    assert found == []
