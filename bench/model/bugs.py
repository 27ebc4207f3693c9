"""Planted bugs.  Each removes one rule of the protocol, and a story must fail without it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.model.stories import NAMED
from bench.model.story import Story


@dataclass(frozen=True)
class Bug:
    """A missing rule, and the story that detects it."""

    name: str
    rule: str
    story: str

    def planted(self) -> Story:
        """Return the story without the rule."""
        story = NAMED[self.story]
        return replace(story, rules=replace(story.rules, **{self.rule: False}))


_FROZEN = "a frozen eraser wakes after its fence"
_LATE = "an answer is lost, the request is late"
_QUAYS_ROW = "a tombstone whose digest has a row of Quay's"

BUGS = (
    Bug("pushes of one digest do not wait for each other", "digest_lock", "two pushes of one new digest"),
    Bug("a push ignores the fences", "fence_stops_pushes", _LATE),
    Bug(
        "a retry settles the fence of the request that had no answer",
        "fence_outlives_retry",
        "a retry is answered, the first request is late",
    ),
    Bug("a request is sent without a check of the clock", "look_before_send", "a slow eraser and its fence"),
    Bug(
        "the last check ignores that a request may be late", "late_is_counted", "a slow eraser and its fence"
    ),
    Bug(
        "objects that cannot be put back get a short fence",
        "short_needs_trash",
        "objects are erased at once where others have a short fence",
    ),
    Bug(
        "a tombstone is forgotten once its object is back, and its request is late",
        "kept_after_return",
        "a short fence ends before its request lands",
    ),
    Bug("the client sends a request twice under one fence", "one_attempt", _LATE),
    Bug(
        "tombstones are held by row locks while the store works",
        "leases",
        "an eraser is frozen during a push",
    ),
    Bug("references to the digest are not checked again", "look_at_references", _QUAYS_ROW),
    Bug("a row that Quay never declared ready does not count", "unready_rows_count", _QUAYS_ROW),
    Bug(
        "references are looked up by the location's name",
        "look_by_store",
        "a sweep under a second name for the store",
    ),
    Bug("a missing object counts as erased", "identity", "the store is not mounted"),
    Bug("objects are erased at once, and a process freezes", "quarantine", _FROZEN),
    Bug("objects are erased at once beside a Quay", "quarantine", "a push of Quay's"),
    Bug("objects are erased at once and Quay's Redis is flushed", "quarantine", "Quay's Redis is flushed"),
    Bug("a push deletes the tombstone of a request that may still be sent", "kept_after_cancel", _FROZEN),
    Bug("a tombstone is forgotten once its object is back", "kept_after_return", _FROZEN),
    Bug(
        "the trash is purged as soon as the live object is there",
        "trash_kept_beside_live",
        "a frozen eraser between copy and delete",
    ),
    Bug("manifests are judged without being locked", "lock_manifests", "a tag on a manifest that is judged"),
    Bug(
        "a manifest that is locked is not recorded",
        "record_skipped",
        "a tag that fails beside a collection",
    ),
    Bug("the window is not read again before the commit", "window_read_again", "the window is lengthened"),
    Bug(
        "a collection checks references before it records a blob",
        "candidates_without_looking",
        "two collections drop one blob",
    ),
    Bug("a blob is judged before it is locked", "judge_after_lock", "a mount while the blob is judged"),
    Bug("tombstones are written after the rows are gone", "tombstone_with_rows", "a review is killed"),
)
