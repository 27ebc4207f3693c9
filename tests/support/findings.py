"""Generate the page about the findings of `dredge fsck` from its checks."""

from __future__ import annotations

from pathlib import Path

from model.fsck import manifests
from model.fsck.check import Check
from model.fsck.run import CHECKS
from worker.fsck import objects

FINDINGS = Path(__file__).parents[2] / "docs" / "reference" / "findings.md"
FIXED: tuple[Check, ...] = (*CHECKS, *manifests.SLICED, *manifests.DEEP, *objects.CHECKS)

_HEAD = """\
# Findings of fsck

What `dredge fsck` prints, and what to do (`make docs` writes this page). A violation must never be seen, and
makes the exit code 1. Pending work is found by a stage by itself. `manifest-bytes-differ` and
`object-bytes-differ` are looked for with `--deep` only.

For each foreign key of the registry's tables there are two more violations: `dangling-<table>-<column>`, a
row that names one that does not exist, and, between rows of one repository, `foreign-<table>-<column>`, a row
that names one of another repository.

`dredge fsck --json` lists every check in `checks`, with its `count`. A check that had another name in an
earlier version is also listed under that name, with `alias_of`: leave these out when you add counts. Such
names are `blob-without-a-trace`, `label-without-a-trace`, `manifest-dead-without-a-trace` and
`object-without-a-trace`; today they end in `-orphaned`.
"""


def findings_page() -> str:
    """Return the whole page: a table for each kind, in the order of the checks."""
    return "\n".join([_HEAD, *_table("Violations", "violation"), *_table("Pending work", "pending")])


def _table(title: str, kind: str) -> list[str]:
    rows = [f"| `{each.name}` | {each.what} | {each.advice} |" for each in FIXED if each.kind == kind]
    return [f"## {title}\n", "| finding | what it is | what to do |", "| --- | --- | --- |", *rows, ""]
