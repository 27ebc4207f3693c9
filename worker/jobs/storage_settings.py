"""Check the storage settings together: find an unsafe quarantine, and two names of one store."""

from __future__ import annotations

from model.gc.storage_identity import others_write, read_storage
from worker.jobs.erase import fence_of
from worker.jobs.quarantine import choose_quarantine_s
from worker.settings import Settings
from worker.storage.base import Store, Stores


def find_unsafe(settings: Settings, store: Store) -> str:
    """Return why a store's quarantine is unsafe and what to do, or an empty text if it is safe."""
    quarantine_s = choose_quarantine_s(settings, store)
    beside_quay = bool(settings.quay_redis_url) or others_write()
    if not quarantine_s:
        unsafe = "a push of the Quay that writes there can lose its object: unset DREDGE_QUARANTINE_S"
        return unsafe if beside_quay else ""
    # An unmodified Quay checks that the object exists, and commits its row at the end of the push.
    least_s = fence_of(store) // 1000 + (settings.push_ttl_s if beside_quay else 0)
    if quarantine_s > least_s:
        return ""
    what = "a request that lands late and the longest push" if beside_quay else "a request that lands late"
    must = f"its quarantine of {quarantine_s} s must be longer than {what}"
    return f"{must}: set DREDGE_QUARANTINE_S above {least_s}"


def find_aliases(stores: Stores) -> list[tuple[str, ...]]:
    """Return the names of each store that has several: stores with one address, or with one identity."""
    recorded = read_storage()
    groups: list[tuple[set[str], set[str]]] = []
    for name, store in stores.items():
        identity = recorded[name].identity if name in recorded else None
        names, keys = {name}, {store.address, identity or store.address}
        for group in [group for group in groups if group[1] & keys]:
            groups.remove(group)
            names |= group[0]
            keys |= group[1]
        groups.append((names, keys))
    return sorted(tuple(sorted(names)) for names, _ in groups if len(names) > 1)
