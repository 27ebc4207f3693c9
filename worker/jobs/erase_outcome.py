"""Record the outcome of claimed tombstones, in one transaction for each request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from model.counts import Counts
from model.db.clock import now_ms
from model.db.connection import short_transaction
from model.events import record as events
from model.gc.history import record_erasing
from model.gc.quarantine import Quarantined, add_quarantined
from model.gc.tombstones import (
    Claim,
    Tombstone,
    postpone_tombstones,
    release_tombstones,
    settle_tombstones,
)
from model.storage_paths import trash_path
from worker import logs
from worker.storage.base import Store

log = logs.logger("dredge.erase")


@dataclass(frozen=True)
class Place:
    """A location whose store was verified, and how long its objects stay in the trash.

    `patient`: a request for one object took too long, so requests have all the time that the store may need.
    """

    location: str
    store: Store
    quarantine_s: int = 0
    patient: bool = False


@dataclass(frozen=True)
class EraseOutcome(Counts):
    """The claimed tombstones, one group for each outcome; those in `divided` failed as one request."""

    erased: tuple[Tombstone, ...] = ()
    moved: tuple[tuple[Tombstone, str, str], ...] = ()
    missing: tuple[Tombstone, ...] = ()
    dropped: tuple[Tombstone, ...] = ()
    unsent: tuple[Tombstone, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    unknown: Mapping[int, str] = field(default_factory=dict)
    divided: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cleared(Counts):
    """What one turn of the eraser did.

    `objects` were deleted permanently; `set_aside` were moved to the trash; `put_back` were moved back from
    it.  `bytes` counts only objects that existed.  `stopped` is the reason if the turn had to stop early.
    `others`: more tombstones may be due.  `unsent`: the time was over before they were sent.
    """

    objects: int = 0
    bytes: int = 0
    missing: int = 0
    dropped: int = 0
    failed: int = 0
    set_aside: int = 0
    put_back: int = 0
    set_aside_bytes: int = field(default=0, compare=False)
    claimed: int = field(default=0, compare=False)
    unsent: int = field(default=0, compare=False)
    others: bool = field(default=False, compare=False)
    has_more: bool = False
    stopped: str = ""

    @classmethod
    def of(cls, outcome: EraseOutcome, claim: Claim) -> Cleared:
        """Count the tombstones of each outcome."""
        return cls(
            objects=len(outcome.erased),
            bytes=sum(tombstone.size for tombstone in outcome.erased),
            missing=len(outcome.missing),
            dropped=len(outcome.dropped),
            failed=len(outcome.failed) + len(outcome.unknown) + len(outcome.divided),
            set_aside=len(outcome.moved),
            set_aside_bytes=sum(tombstone.size for tombstone, _, _ in outcome.moved),
            claimed=len(claim.tombstones),
            unsent=len(outcome.unsent),
            others=claim.more,
        )

    def __add__(self, later: Cleared) -> Cleared:
        """Add the counts; the sum has more, or was stopped, if one of the parts has or was."""
        return replace(
            super().__add__(later),
            has_more=self.has_more or later.has_more,
            stopped=self.stopped or later.stopped,
        )


def settle(place: Place, claim: Claim, outcome: EraseOutcome) -> None:
    """Record what one request did, for the tombstones that this process still holds.  Idempotent."""
    # An earlier request may have moved, or may still move, objects that are referenced again.
    needed = [(t, trash_path(t.id, t.path), "") for t in outcome.dropped if t.set_aside]
    aside = [*outcome.moved, *needed]
    done = [*outcome.erased, *outcome.missing, *outcome.dropped, *(each for each, _, _ in outcome.moved)]
    with short_transaction():
        started_ms = now_ms()
        ours = settle_tombstones(claim.token, [tombstone.id for tombstone in done])
        if aside:
            # A frozen process may have moved an object that is referenced now: check the trash at once.
            # So may a slow request have, whose fence was over.
            over = started_ms >= claim.until_ms
            late = frozenset(each.id for each, _, _ in aside if over or each.id not in ours)
            at_once = late | frozenset(each.id for each, _, _ in needed)
            add_quarantined(place.location, aside, quarantine_ms=place.quarantine_s * 1000, at_once=at_once)
        if outcome.failed:
            postpone_tombstones(claim.token, outcome.failed)
        if outcome.unknown:
            postpone_tombstones(claim.token, outcome.unknown, unanswered=True)
        if outcome.divided:
            postpone_tombstones(claim.token, outcome.divided, unanswered=True, divide=True)
        if outcome.unsent:
            release_tombstones(claim.token, outcome.unsent)
        record_erased(
            [tombstone for tombstone in outcome.erased if tombstone.id in ours],
            [tombstone for tombstone in outcome.missing if tombstone.id in ours],
            started_ms,
        )
    for error in {*outcome.failed.values(), *outcome.unknown.values(), *outcome.divided.values()}:
        log.warning("object.not_erased", location=place.location, error=error)
    if outcome.unsent:
        log.warning("object.not_sent", location=place.location, objects=len(outcome.unsent))


def record_erased(
    erased: Iterable[Tombstone | Quarantined], missing: Iterable[Tombstone | Quarantined], started_ms: int
) -> None:
    """Write the history and the event of erased objects.

    Includes objects that were already missing, with no bytes counted: another eraser may have erased them
    and crashed before it recorded that.
    """
    gone = [(each, each.size) for each in erased]
    if gone:
        record_erasing(started_ms=started_ms, objects=len(gone), bytes=sum(size for _, size in gone))
    items = [
        {
            "subject": each.digest or each.path,
            "digest": each.digest,
            "location": each.location,
            "bytes": size,
        }
        for each, size in (*gone, *((each, 0) for each in missing))
    ]
    if items:
        events.record(events.BLOB_ERASED, subject="objects", data={"items": items}, now_ms=started_ms)
