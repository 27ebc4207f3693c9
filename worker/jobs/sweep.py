"""Sweep for orphans: slice after slice, resumable, in two passes before anything happens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.db.clock import now_ms
from model.db.connection import connection
from model.gc.cursor import move_cursor, read_cursor
from model.gc.orphans.objects import find_some_objects, find_unknown, mark_unknown_objects
from model.gc.orphans.rows import KINDS, Kind, forget_lost_owners, sweep_slice
from model.storage_paths import EMPTY_LAYER_PATH, is_ours
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.pace import Budget
from worker.jobs.storage_identity import verify_location
from worker.storage.base import ObjectInfo, Store, StoreUnavailable

log = logs.logger("dredge.sweep")

PAGE = 1_000
FORGET = 10_000
PROBES = 20
# One slice of a bucket is one folder: they are listed, and resumed, one at a time.
FOLDERS = ("uploads", "sharedimages", "sha384", "sha512", *(f"sha256/{n:02x}" for n in range(256)))


@dataclass(frozen=True)
class Swept:
    """What one turn did with one kind; `has_more` where its pass is not over."""

    kind: str
    looked: int = 0
    suspects: int = 0
    confirmed: int = 0
    has_more: bool = False
    error: str | None = None

    def plus(self, looked: int, suspects: int, confirmed: int) -> Swept:
        """With another slice."""
        return replace(
            self,
            looked=self.looked + looked,
            suspects=self.suspects + suspects,
            confirmed=self.confirmed + confirmed,
        )


def sweep(context: JobContext, *, budget_s: float, dry_run: bool = False) -> tuple[Swept, ...]:
    """Go on with a pass over every kind until it is over or the budget is used up; one result for each.

    Positions are kept in the database, so a pass survives its process.  `dry_run` walks everything
    from its start, counts, and writes nothing.  A location that cannot be listed, or whose listing
    knows nothing of ours, is left alone and reported.
    """
    budget = Budget(budget_s)
    with connection():
        if not dry_run:
            forget_lost_owners(limit=FORGET)
        rows = [_sweep_rows(context, kind, budget, dry_run) for kind in KINDS]
        objects = [_sweep_objects(context, name, budget, dry_run) for name in context.stores]
    found = (*rows, *objects)
    confirmed = {swept.kind for swept in found if swept.confirmed}
    if "blob" in confirmed:
        context.queue.review()
    if any(swept.confirmed for swept in objects):
        context.queue.erase()
    for swept in found:
        if swept.suspects or swept.error:
            log.info("sweep.looked", **vars(swept))
    return found


def _sweep_rows(context: JobContext, kind: Kind, budget: Budget, dry_run: bool) -> Swept:
    cursor = f"sweep.{kind.name}"
    position = 0 if dry_run else read_cursor(cursor)
    swept = Swept(kind.name)
    while True:
        if not dry_run and (stopped := find_stop(context)):
            return replace(swept, error=stopped)
        look = sweep_slice(
            kind,
            after=position,
            policy=context.policy,
            now_ms=now_ms(),
            delay_ms=context.settings.sweep_delay_s * 1000,
            dry_run=dry_run,
        )
        swept = swept.plus(look.looked, look.suspects, look.confirmed)
        if look.position == position and look.position:
            return replace(swept, has_more=True)  # another process sweeps this kind
        position = look.position
        if not dry_run:
            move_cursor(cursor, position)
        if not position:
            return swept
        if not budget:
            return replace(swept, has_more=True)


def _sweep_objects(context: JobContext, location: str, budget: Budget, dry_run: bool) -> Swept:
    cursor = f"sweep.objects.{location}"[:64]
    start = 0 if dry_run else read_cursor(cursor)
    swept = Swept(f"object at {location}")
    store, trusted = context.stores[location], False
    if not dry_run and (problem := verify_location(context.stores, location)):
        return replace(swept, error=problem)
    try:
        for number in range(start, len(FOLDERS)):
            if not dry_run and (stopped := find_stop(context)):
                return replace(swept, error=stopped)
            if number > start and not budget:
                return replace(swept, has_more=True)
            folder = _look(store, location, FOLDERS[number])
            if folder.unknown and not trusted:
                trusted = _recognised(store, location)
            if not dry_run:
                confirmed = _confirm(context, location, FOLDERS[number], folder)
                move_cursor(cursor, (number + 1) % len(FOLDERS))
            swept = swept.plus(folder.looked, len(folder.unknown), 0 if dry_run else confirmed)
    except StoreUnavailable as error:
        # A listing that broke off or is not ours says nothing: nothing was confirmed by it.
        return replace(swept, error=str(error))
    return swept


@dataclass(frozen=True)
class Folder:
    """A folder's listing: how many objects of ours, and path and size of those no row knows."""

    looked: int
    unknown: list[tuple[str, int]]


def _look(store: Store, location: str, folder: str) -> Folder:
    """List a whole folder, asking a page of paths at a time."""
    looked = 0
    unknown: list[tuple[str, int]] = []
    for page in _pages(store, folder):
        looked += len(page)
        sizes = {info.path: info.size for info in page}
        unknown += [(path, sizes[path]) for path in find_unknown(list(sizes), location)]
    return Folder(looked, unknown)


def _pages(store: Store, folder: str) -> Iterator[list[ObjectInfo]]:
    """The objects of a folder that could be ours, but for the empty layer, which stays for ever."""
    ours = (info for info in store.list(folder) if is_ours(info.path) and info.path != EMPTY_LAYER_PATH)
    while page := list(itertools.islice(ours, PAGE)):
        yield page


def _confirm(context: JobContext, location: str, name: str, folder: Folder) -> int:
    return mark_unknown_objects(
        location,
        name,
        folder.unknown,
        now_ms=now_ms(),
        delay_ms=context.settings.sweep_delay_s * 1000,
    )


def _recognised(store: Store, location: str) -> bool:
    """Raise unless the store holds some object that our rows know, where they know any.

    A bucket in which nothing is known is somebody else's.
    """
    known = find_some_objects(location, limit=PROBES)
    if known and all(store.size(path) is None for path in known):
        raise StoreUnavailable(
            "no object that the rows know is there: is this another registry's storage?", location=location
        )
    return True
