"""Stray objects of the trash: back where a row needs them and they are away, else purged after two passes."""

from __future__ import annotations

from model.db.clock import now_ms
from model.gc.orphans.trash import Stray, find_stray, mark_stray
from model.storage_paths import TRASH_FOLDER
from worker import logs
from worker.jobs.sweep_pages import pages
from worker.jobs.sweep_result import Swept
from worker.storage.base import Store, StoreUnavailable, Trash

log = logs.logger("dredge.sweep")

BATCH = 1_000


def sweep_trash(swept: Swept, store: Store, location: str, *, delay_ms: int, dry_run: bool) -> Swept:
    """Look at the whole trash of a location; the result with it.

    `delay_ms` between the pass that marks and the one that purges.  Idempotent.
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
    """Nothing refers to the object, or it is in its place too."""
    return not stray.needed or store.size(stray.path) is not None


def _put_back(store: Store, location: str, stray: Stray) -> bool:
    try:
        there = store.put_back(stray.path, stray.trash)
    except StoreUnavailable as error:
        # The next pass finds it again; one object's odd answer blocks no other.
        log.warning("object.not_put_back", trash=stray.trash, location=location, error=str(error))
        return False
    log.warning("object.put_back", trash=stray.trash, location=location, there=there)
    return there


def _purge(store: Store, location: str, names: list[str]) -> int:
    # Safe: no row knows the names, and nothing refers to their paths or the objects are in their places, in a
    # statement and a look after the second mark; no live object can have a name in the trash, and a push
    # that comes now writes its own bytes.
    lost = [each for each in find_stray(names, location) if _is_spare(store, each)]
    results = store.purge([Trash(each.path, each.trash) for each in lost])
    for result in results:
        if result.error is not None:
            log.warning("object.not_purged", location=location, error=result.error)
    return sum(result.error is None for result in results)
