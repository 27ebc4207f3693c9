"""Try every kind of request that a collection sends to a store."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TypeVar

from model.storage_paths import TRASH_FOLDER
from worker.storage.answers import NOT_A_STORE
from worker.storage.base import Erased, SetAside, Store, StoreUnavailable, Trash

_Result = TypeVar("_Result", Erased, SetAside)
_CONTENT = b"dredge"


def probe(store: Store, name: str) -> None:
    """Write, read, list, set aside, put back and purge two small objects; leave none behind.

    Raises `StoreUnavailable` with the store's answer.
    """
    label = uuid.uuid4().hex
    moves = [(f"uploads/check-{label}-{n}", f"{TRASH_FOLDER}/check/{label}-{n}") for n in range(2)]
    hidden = [Trash(*move) for move in moves]
    try:
        for path, _ in moves:
            store.write(path, [_CONTENT])
        if b"".join(store.read(moves[0][0])) != _CONTENT:
            raise StoreUnavailable(f"{name}: an object does not read back as written: {NOT_A_STORE}")
        if moves[0][0] not in [found.path for found in store.list("uploads", moves[0][0][:-1])][:2]:
            raise StoreUnavailable(f"{name}: a listing does not show an object that was written")
        hidden = _set_aside(store, name, moves)
        if not store.put_back(*hidden[0]):
            raise StoreUnavailable(f"{name}: an object that was set aside cannot be put back")
        hidden[0] = _set_aside(store, name, moves[:1])[0]
        _finish(name, lambda: store.purge(hidden))
        _finish(name, lambda: store.erase([path for path, _ in moves]))
    except BaseException:
        store.erase([path for path, _ in moves])
        store.purge(hidden)
        raise


def _set_aside(store: Store, name: str, moves: list[tuple[str, str]]) -> list[Trash]:
    results = _finish(name, lambda: store.set_aside(moves))
    return [Trash(path, trash, result.version) for (path, trash), result in zip(moves, results, strict=True)]


def _finish(name: str, send: Callable[[], list[_Result]]) -> list[_Result]:
    """Send once more after an unclear answer, as a collection does later: perhaps only bulk deletes fail."""
    results = send()
    if any(result.unknown for result in results):
        results = send()
    for result in results:
        if error := result.error:
            raise StoreUnavailable(error if error.startswith(name) else f"{name}: {error}")
    return results
