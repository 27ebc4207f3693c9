"""Sweep a location's objects, folder by folder, for those that no row references."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.db.clock import now_ms
from model.gc.cursor import move_cursor, read_cursor
from model.gc.orphans.marks import NEVER_MS
from model.gc.orphans.objects import find_unknown, has_marks, mark_unknown_objects
from model.gc.orphans.share import Share, count_folder, end_pass, read_share
from model.storage_paths import EMPTY_LAYER_PATH, is_ours
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.pace import Budget
from worker.jobs.storage_identity import UNKNOWN, proven, store_problem, verify_location
from worker.jobs.sweep_pages import pages
from worker.jobs.sweep_result import Swept
from worker.jobs.sweep_trash import count_trash, sweep_trash
from worker.storage.base import StoreUnavailable

# One slice of a bucket is one folder: folders are listed, and resumed, one at a time.  The trash is last.
FOLDERS = ("uploads", "sharedimages", "sha384", "sha512", *(f"sha256/{n:02x}" for n in range(256)))


def sweep_objects(context: JobContext, location: str, budget: Budget, dry_run: bool) -> Swept:
    """Continue a location's pass until it is over or the budget is used up.

    Reports a location that is suspended, cannot be listed, or has more unknown objects than the settings
    allow; confirms nothing there.
    """
    swept = Swept(f"object at {location}")
    if not dry_run and (problem := verify_location(context.stores, location)):
        return replace(swept, error=problem)
    try:
        if dry_run:
            return _count(context, location, swept)
        return _go_on(context, location, budget, swept)
    except Exception as error:  # noqa: BLE001  a location's driver stops no other location
        # A listing that failed or has none of our objects proves nothing, and has confirmed nothing.
        return replace(swept, error=store_problem(error))


def _go_on(context: JobContext, location: str, budget: Budget, swept: Swept) -> Swept:
    cursor = f"sweep.objects.{location}"[:64]
    start, share = read_cursor(cursor), read_share(location)
    are_marked, young_from_ms = has_marks(location), _young_from_ms(context)
    for number in range(start, len(FOLDERS)):
        if stopped := find_stop(context):
            return replace(swept, error=stopped)
        if number > start and not budget:
            return replace(swept, has_more=True)
        folder = _look(context, location, FOLDERS[number], young_from_ms)
        if not folder.looked and not are_marked:
            continue  # No position is saved: after a crash the folder is listed again.
        share = count_folder(share, looked=folder.looked, unknown=len(folder.unknown))
        confirmed = mark_unknown_objects(
            location,
            FOLDERS[number],
            folder.unknown,
            now_ms=now_ms(),
            delay_ms=_delay_ms(context, share),
        )
        move_cursor(cursor, number + 1)
        swept += Swept(swept.kind, folder.looked, len(folder.unknown), confirmed)
    delay_ms = _delay_ms(context, share)
    swept += sweep_trash(swept.kind, context.stores[location], location, delay_ms=delay_ms)
    end_pass(location)
    move_cursor(cursor, 0)
    return replace(swept, error=share.find_excess(context.settings.sweep_share) or None)


def _delay_ms(context: JobContext, share: Share) -> int:
    """Return the age that a mark needs to be confirmed; endless if too many objects are unknown."""
    if not share.may_confirm or share.find_excess(context.settings.sweep_share):
        return NEVER_MS
    return context.settings.sweep_delay_s * 1000


def _young_from_ms(context: JobContext) -> int:
    """Return the time after which a changed object is young: its push may not have written its row yet."""
    return now_ms() - max(context.policy.upload_ttl_ms, context.policy.push_ttl_ms)


def _count(context: JobContext, location: str, swept: Swept) -> Swept:
    """Walk the whole location and count; write nothing."""
    young_from_ms = _young_from_ms(context)
    for name in FOLDERS:
        folder = _look(context, location, name, young_from_ms)
        swept += Swept(swept.kind, folder.looked, len(folder.unknown))
    share = replace(read_share(location), looked=swept.looked, unknown=swept.suspects)
    swept += count_trash(swept.kind, context.stores[location], location)
    return replace(swept, error=share.find_excess(context.settings.sweep_share) or None)


@dataclass(frozen=True)
class Folder:
    """A folder's listing: the number of its objects, and path and size of those that no row knows."""

    looked: int
    unknown: list[tuple[str, int]]


def _look(context: JobContext, location: str, folder: str, young_from_ms: int) -> Folder:
    """List a whole folder, and look up its paths in the rows a page at a time; skips young objects."""
    store = context.stores[location]
    looked = 0
    unknown: list[tuple[str, int]] = []
    # The empty layer is never garbage.
    ours = (info for info in store.list(folder) if is_ours(info.path) and info.path != EMPTY_LAYER_PATH)
    for page in pages(ours):
        looked += len(page)
        sizes = {info.path: info.size for info in page if info.modified_ms <= young_from_ms}
        unknown += [(path, sizes[path]) for path in find_unknown(list(sizes), location)]
    if unknown and not proven(store, location):
        raise StoreUnavailable(UNKNOWN, location=location)
    return Folder(looked, unknown)
