"""Open the drivers of the configured locations."""

from __future__ import annotations

from collections.abc import Mapping

from worker.storage.base import Store, Stores
from worker.storage.local import LocalStore
from worker.storage_url import LocalURL, parse_storage_url


def open_stores(locations: Mapping[str, str], *, upload: str = "local_us") -> Stores:
    """Return a driver for each location.  Sends nothing over the network yet."""
    return Stores({name: open_store(url) for name, url in locations.items()}, upload)


def prepare_stores(locations: Mapping[str, str]) -> None:
    """Create missing directories of local stores.  Idempotent."""
    for url in locations.values():
        open_store(url, create=True)


def open_store(url: str, *, create: bool = False) -> Store:
    """Return the driver for a path, `file://`, `s3://`, `gs://` or `az://`.  Raises `BadInput`."""
    parsed = parse_storage_url(url)
    if isinstance(parsed, LocalURL):
        return LocalStore(parsed.path, fsync=parsed.fsync, create=create)
    if parsed.scheme == "s3":
        from worker.storage.s3 import S3Store

        return S3Store(parsed)
    from worker.storage.native import NativeStore

    return NativeStore(parsed)
