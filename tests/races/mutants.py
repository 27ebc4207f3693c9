"""Planted bugs: each takes one rule of the protocol away, and a story of the explorer must break.

A mutant changes one name of the program for the length of a test: part of a statement, or a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from model import fence
from model.gc import collect, quarantine, review, tags, tombstones
from model.gc.manifests import purge
from tests.races import stories
from tests.races.stories import ASIDE, AT_ONCE, Story, Telling
from tests.support.memory_store import MemoryStore
from tests.support.race_stores import LateStore, SwappedStore
from worker.jobs import erase, erase_outcome
from worker.settings import Settings


@dataclass(frozen=True)
class Mutant:
    """A rule that is missing: what is wrong then, where, and the story and the finding that show it.

    `part` of the statement `module.name` is replaced by `instead`; without a part, the function of that
    name is replaced by what `instead` makes of it.  `telling` is where the explorer begins.
    """

    wrong: str
    module: ModuleType
    name: str
    part: str
    instead: Any
    story: Story
    finding: str
    telling: Telling = ()
    settings: Settings = AT_ONCE
    store_type: type[MemoryStore] = MemoryStore

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Change the program."""
        real = getattr(self.module, self.name)
        if self.part:
            assert real.count(self.part) == 1, (
                f"{self.name} does not hold {self.part!r} once: mend this table"
            )
        monkeypatch.setattr(
            self.module, self.name, real.replace(self.part, self.instead) if self.part else self.instead(real)
        )


def _with(**changed: Any) -> Callable[[Any], Any]:
    """The same function, called with other keyword arguments."""
    return lambda real: lambda *arguments, **options: real(*arguments, **(options | changed))


def _returning(value: Any) -> Callable[[Any], Any]:
    return lambda real: lambda *arguments, **options: value


def _fence_without_lateness(real: Any) -> Any:
    def claim(location: str, *, fence_ms: int, **options: Any) -> Any:
        return real(location, fence_ms=fence_ms - LateStore.late_delete_ms, **options)

    return claim


LOST = "is needed and missing|was promised"
_JUDGED = "WHERE NOT EXISTS (SELECT FROM manifestblob o WHERE o.blob_id = lost.blob_id"

MUTANTS = (
    Mutant(
        "a claim fences nothing",
        tombstones, "_CLAIM", "fenced_until_ms = %(until)s", "fenced_until_ms = NULL",
        stories.push_and_erase, LOST, stories.OVERTAKEN,
    ),
    Mutant(
        "a push does not look at the fence",
        fence, "fetch_one", "", _returning(SimpleNamespace(until_ms=None)),
        stories.push_and_erase, LOST, stories.OVERTAKEN,
    ),
    Mutant(
        "nobody looks for references before a request",
        erase, "find_referred", "", _returning(frozenset()),
        stories.one_of_two_rows_dies, LOST,
    ),
    Mutant(
        "references are looked up by the location's name",
        tombstones, "_REFERRED", "l.name = s.location OR NOT EXISTS", "l.name = s.location AND NOT EXISTS",
        stories.quay_row, LOST,
    ),
    Mutant(
        "a postponement shortens the fence",
        tombstones, "_POSTPONE", "fenced_until_ms = CASE WHEN %(fenced)s THEN t.fenced_until_ms END,",
        "fenced_until_ms = NULL,",
        stories.late_request, LOST, store_type=LateStore,
    ),
    Mutant(
        "a retry comes, and settles, before the fence of the unanswered request ends",
        tombstones, "_POSTPONE", "greatest(CASE WHEN %(fenced)s THEN t.fenced_until_ms END,",
        "greatest(NULL,",
        stories.late_request, LOST, stories.RETRIED, store_type=LateStore,
    ),
    Mutant(
        "an unanswered request is taken for a refused one",
        erase_outcome, "postpone_tombstones", "", _with(unanswered=False),
        stories.late_request, LOST, store_type=LateStore,
    ),
    Mutant(
        "a request is sent without a check of the clock",
        erase, "_send", "",
        lambda real: lambda store, doomed, until_s, **options: real(store, doomed, math.inf, **options),
        stories.slow_eraser, LOST, stories.SLOW, store_type=LateStore,
    ),
    Mutant(
        "the fence forgets that a request may land late",
        erase, "claim_tombstones", "", _fence_without_lateness,
        stories.slow_eraser, LOST, stories.LATE, store_type=LateStore,
    ),
    Mutant(
        "objects that cannot be put back get the short fence",
        erase, "late_ms", "", _returning(erase.USUAL_MS),
        stories.late_request, LOST, stories.AFTER_A_SHORT_FENCE, store_type=LateStore,
    ),
    Mutant(
        "nobody remembers that a move was slower than its short fence",
        erase_outcome, "add_quarantined", "", _returning(None),
        stories.late_request, LOST, stories.RETRIED, ASIDE, LateStore,
    ),
    Mutant(
        "a missing object counts as erased",
        erase, "_distrust_missing", "", lambda real: lambda stores, place, outcome: outcome,
        stories.unmounted, "is known to no row", stories.MISSING, store_type=SwappedStore,
    ),
    Mutant(
        "objects are erased at once, and a process is frozen",
        erase, "choose_quarantine_s", "", _returning(0),
        stories.frozen_eraser, LOST, stories.FROZEN, ASIDE,
    ),
    Mutant(
        "objects are erased at once beside a Quay",
        erase, "choose_quarantine_s", "", _returning(0),
        stories.quay_push, LOST, stories.OBJECT_SEEN, ASIDE,
    ),
    Mutant(
        "nobody remembers what a frozen eraser has moved",
        erase_outcome, "add_quarantined", "", _returning(None),
        stories.frozen_eraser, LOST, stories.FROZEN_TWICE, ASIDE,
    ),
    Mutant(
        "what the trash holds is not asked for again",
        quarantine, "_READ", "AS referred", "AND false AS referred",
        stories.lease_ends, LOST, settings=ASIDE,
    ),
    Mutant(
        "a blob is not locked before it is judged",
        review, "_TAKE", "blob_id FROM dropped))\n    FOR UPDATE SKIP LOCKED", "blob_id FROM dropped))",
        stories.push_and_review, f"{LOST}|ended with",
    ),
    Mutant(
        "blobs are buried without the look at running pushes",
        review, "_RETIRE", "AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id OFFSET 0)", "",
        stories.push_and_review, f"{LOST}|ended with",
    ),
    Mutant(
        "the owner's row is not locked by the closing statement",
        collect, "_CLOSE", " FOR KEY SHARE OF r FOR SHARE OF n", "",
        stories.lengthened_window, "within its longer window",
    ),
    Mutant(
        "manifests are judged without being locked",
        tags, "_EXPIRE", "m.repository_id = ANY(%(repositories)s)\n    FOR UPDATE SKIP LOCKED\n)",
        "m.repository_id = ANY(%(repositories)s)\n)",
        stories.tag_and_collect, f"{LOST}|ended with",
    ),
    Mutant(
        "a collection checks references before it records a blob",
        purge, "_PURGE", "FROM lost\n), counted",
        f"FROM lost {_JUDGED} AND o.manifest_id <> ALL(%(dead)s))\n), counted",
        stories.two_collections_of_one_blob, "blob-orphaned",
    ),
)  # fmt: skip
