"""Sweep objects of the trash that have no row of their own.

One that is referenced, but missing from its place, is put back; any other is purged after two passes.
"""

from __future__ import annotations

from functools import partial

from model.db.clock import now_ms
from model.gc.orphans.rows import STAGE
from model.gc.orphans.trash import Stray, find_stray, mark_stray
from model.gc.poison import clear, count_poison, is_waiting
from model.storage_paths import TRASH_FOLDER
from worker import logs
from worker.jobs.isolation import attempt_alone, is_of_an_item
from worker.jobs.sweep_pages import pages
from worker.jobs.sweep_result import Swept
from worker.storage.base import Erased, Store, StoreUnavailable, Trash

log = logs.logger("dredge.sweep")

BATCH = 1_000


def sweep_trash(swept: Swept, store: Store, location: str, *, delay_ms: int, dry_run: bool) -> Swept:
    """Sweep the whole trash of a location.  Returns `swept` with the result added.

    At least `delay_ms` lie between the pass that marks an object and the one that purges it.  Idempotent.
    """
    looked, stray = 0, []
    for page in pages(store.list(TRASH_FOLDER)):
        looked += len(page)
        stray += find_stray([info.path for info in page], location)
    if dry_run:
        return swept.plus(looked, len(stray), 0)
    spare = {each.trash for each in stray if _is_spare(store, each)}
    put_back = sum(_put_back(store, location, each) for each in stray if each.trash not in spare)
    confirmed = mark_stray(location, sorted(spare), now_ms=now_ms(), delay_ms=delay_ms)
    purged = sum(
        _purge(store, location, confirmed[start : start + BATCH]) for start in range(0, len(confirmed), BATCH)
    )
    return swept.plus(looked, len(stray), purged, put_back)


def _is_spare(store: Store, stray: Stray) -> bool:
    """Return whether the copy in the trash is not needed: unreferenced, or also in its place."""
    return not stray.needed or store.size(stray.path) is not None


def _put_back(store: Store, location: str, stray: Stray) -> bool:
    try:
        there = store.put_back(stray.path, stray.trash)
    except StoreUnavailable as error:
        # The next pass tries it again; an error of one object does not stop the others.
        log.warning("object.not_put_back", trash=stray.trash, location=location, error=str(error))
        return False
    log.warning("object.put_back", trash=stray.trash, location=location, there=there)
    return there


def _purge(store: Store, location: str, names: list[str]) -> int:
    set_aside = count_poison().get(STAGE, 0) > 0
    todo = [name for name in names if not (set_aside and is_waiting(STAGE, f"{location}:{name}"))]
    # Safe: no row has these names.  After the second mark, a statement found no reference to their paths, or
    # the store showed the objects in their places.  No live object can have a name in the trash, and a push
    # from now on writes its own bytes.
    lost = [each for each in find_stray(todo, location) if _is_spare(store, each)]
    try:
        results = store.purge([Trash(each.path, each.trash) for each in lost])
    except Exception as error:
        if not is_of_an_item(error):
            raise
        return sum(_purge_alone(store, location, each) for each in lost)
    for each, result in zip(lost, results, strict=True):
        if result.error is not None:
            log.warning("object.not_purged", location=location, error=result.error)
        elif set_aside:
            clear(STAGE, f"{location}:{each.trash}")
    return sum(result.error is None for result in results)


def _purge_alone(store: Store, location: str, stray: Stray) -> bool:
    """Purge one object after a request for many raised; set it aside if it is the cause."""
    results: list[Erased] = []
    work = partial(_purge_into, results, store, stray)
    return attempt_alone(STAGE, f"{location}:{stray.trash}", work) and results[0].error is None


def _purge_into(results: list[Erased], store: Store, stray: Stray) -> None:
    results += store.purge([Trash(stray.path, stray.trash)])
