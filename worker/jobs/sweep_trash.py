"""Sweep objects of the trash that have no row of their own.

One that is referenced, but missing from its place, is put back; any other is purged after two passes.
"""

from __future__ import annotations

from collections.abc import Callable

from model.db.clock import now_ms
from model.gc.orphans.rows import STAGE
from model.gc.orphans.trash import Stray, find_stray, mark_stray
from model.gc.poison import (
    DIVIDE_BY,
    begin_batch,
    clear,
    count_batch_failures,
    count_poison,
    end_batch,
    is_waiting,
    leave_batch,
)
from model.storage_paths import TRASH_FOLDER
from worker import logs
from worker.jobs.isolation import attempt_alone, is_of_an_item
from worker.jobs.sweep_pages import pages
from worker.jobs.sweep_result import Swept
from worker.storage.base import Erased, Store, StoreUnavailable, Trash

log = logs.logger("dredge.sweep")

BATCH = 1_000


def count_trash(kind: str, store: Store, location: str) -> Swept:
    """Count the objects in the trash of a location, and those without a row.  Only reads."""
    looked, stray = _list(store, location)
    return Swept(kind, looked, len(stray))


def sweep_trash(kind: str, store: Store, location: str, *, delay_ms: int) -> Swept:
    """Sweep the whole trash of a location.

    At least `delay_ms` lie between the pass that marks an object and the one that purges it.  An object that
    makes processes fail or die is tried alone, and waits for its next try.  Idempotent.
    """
    looked, stray = _list(store, location)
    may_try = _tries(location)
    spare, put_back = {each.trash for each in stray if not each.needed}, 0
    for each in stray:
        if each.needed and may_try(each.trash):
            in_place, moved = _see_to(store, location, each)
            spare |= {each.trash} if in_place else set()
            put_back += moved
    confirmed = mark_stray(location, sorted(spare), now_ms=now_ms(), delay_ms=delay_ms)
    purged = _purge_all(store, location, [name for name in confirmed if may_try(name)])
    return Swept(kind, looked, len(stray), purged, put_back)


def _list(store: Store, location: str) -> tuple[int, list[Stray]]:
    """Return the number of objects in the trash, and those that have no row of their own."""
    looked, stray = 0, list[Stray]()
    for page in pages(store.list(TRASH_FOLDER)):
        looked += len(page)
        stray += find_stray([info.path for info in page], location)
    return looked, stray


def _tries(location: str) -> Callable[[str], bool]:
    """Return a test whether the next try of an object has come; it is cheap where none has ever failed."""
    if not count_poison().get(STAGE, 0):
        return lambda name: True
    return lambda name: not is_waiting(STAGE, _key(location, name))


def _key(location: str, name: str) -> str:
    return f"{location}:{name}"


def _see_to(store: Store, location: str, stray: Stray) -> tuple[bool, bool]:
    """Put back a referenced object.  Returns whether it was in its place already, and whether it moved."""
    found = []

    def work() -> None:
        in_place = store.size(stray.path) is not None
        found.append((in_place, not in_place and store.put_back(stray.path, stray.trash)))

    try:
        attempt_alone(STAGE, _key(location, stray.trash), work)
    except StoreUnavailable as error:
        # The next pass tries it again; an error of one object does not stop the others.
        log.warning("object.not_put_back", trash=stray.trash, location=location, error=str(error))
    in_place, moved = found[0] if found else (False, False)
    if found and not in_place:
        log.warning("object.put_back", trash=stray.trash, location=location, there=moved)
    return in_place, moved


def _purge_all(store: Store, location: str, names: list[str]) -> int:
    """Purge objects in batches; a batch that dies is divided by the next sweep.  Returns how many went."""
    # Safe: no row has these names.  After the second mark, a statement found no reference to their paths, or
    # the store showed the objects in their places.  No live object can have a name in the trash, and a push
    # from now on writes its own bytes.
    lost = [each for each in find_stray(names, location) if not each.needed or _is_in_place(store, each)]
    lost.sort(key=lambda each: each.id)
    purged = 0
    while lost:
        limit = max(1, BATCH // DIVIDE_BY ** count_batch_failures(STAGE))
        batch, lost = lost[:limit], lost[limit:]
        last = batch[-1].id
        if limit > 1:
            begin_batch(STAGE, last=last)
            purged += _purge(store, location, batch)
        else:
            purged += _purge_alone(store, location, batch[0])
            leave_batch(STAGE, last=last)
    return purged


def _is_in_place(store: Store, stray: Stray) -> bool:
    return store.size(stray.path) is not None


def _purge(store: Store, location: str, batch: list[Stray]) -> int:
    """Purge a batch in one request, or each object alone if the request raises because of one."""
    try:
        results = store.purge([Trash(each.path, each.trash) for each in batch])
    except Exception as error:
        end_batch(STAGE, last=0)
        if not is_of_an_item(error):
            raise
        return sum(_purge_alone(store, location, each) for each in batch)
    end_batch(STAGE, last=batch[-1].id)
    has_failed = count_poison().get(STAGE, 0) > 0
    for each, result in zip(batch, results, strict=True):
        if result.error is not None:
            log.warning("object.not_purged", location=location, error=result.error)
        elif has_failed:
            clear(STAGE, _key(location, each.trash))
    return sum(result.error is None for result in results)


def _purge_alone(store: Store, location: str, stray: Stray) -> bool:
    """Count an attempt, then purge one object; set it aside if it fails."""
    results: list[Erased] = []

    def work() -> None:
        results.extend(store.purge([Trash(stray.path, stray.trash)]))

    return attempt_alone(STAGE, _key(location, stray.trash), work) and results[0].error is None
