"""How many requests an object costs until it is gone from a bucket; the documents give these numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.storage_paths import trash_path
from tests.support.servers.unruly import Unruly, unruly_server
from worker.storage.base import Store, Trash
from worker.storage.open import open_store

PAGE = (Path(__file__).parents[3] / "docs/explanation/performance.md").read_text()
PATHS = [f"sha256/aa/{n:04d}" for n in range(20)]
BULK = "POST"


@pytest.fixture
def unruly(s3_endpoint: str) -> Iterator[Unruly]:
    with unruly_server(s3_endpoint) as server:
        yield server


def filled(unruly: Unruly, url: str, s3_endpoint: str) -> Store:
    store = open_store(url.replace(s3_endpoint, unruly.url))
    for path in PATHS:
        store.write(path, [b"x"])
    # Asked once in the life of a process.
    assert store.quarantine_is_cheap in (True, False)
    unruly.requests.clear()
    return store


def spent(unruly: Unruly) -> tuple[dict[str, float], int]:
    """Requests for each object by their method, and bulk deletes in all."""
    counted = Counter(method for method, _ in unruly.requests)
    unruly.requests.clear()
    bulk = counted.pop(BULK, 0)
    return {method: count / len(PATHS) for method, count in counted.items()}, bulk


def documented(row: str) -> dict[str, float]:
    """`2 HEAD and 1 PUT` in the row of a table, as numbers."""
    found = re.search(rf"^\| {re.escape(row)} \| ([^|]*) \|", PAGE, re.MULTILINE)
    assert found, row
    return {method: float(count) for count, method in re.findall(r"(\d+) ([A-Z]+)", found[1])}


def set_aside(store: Store) -> list[Trash]:
    moves = [(path, trash_path(n, path)) for n, path in enumerate(PATHS)]
    results = store.set_aside(moves)
    assert not [result.error for result in results if result.error]
    return [Trash(path, trash, result.version) for (path, trash), result in zip(moves, results, strict=True)]


def test_objects_that_are_erased_at_once_share_a_request(
    unruly: Unruly, bucket_url: str, s3_endpoint: str
) -> None:
    store = filled(unruly, bucket_url, s3_endpoint)
    assert not [result.error for result in store.erase(PATHS) if result.error]
    assert spent(unruly) == (documented("erased at once"), 1)


@pytest.mark.parametrize("kind", ["a bucket", "a bucket that keeps versions"])
def test_objects_that_are_set_aside_cost_some_requests_each(
    unruly: Unruly, s3_endpoint: str, kind: str, request: pytest.FixtureRequest
) -> None:
    name = "bucket_url" if kind == "a bucket" else "versioned_url"
    store = filled(unruly, request.getfixturevalue(name), s3_endpoint)
    hidden = set_aside(store)
    assert spent(unruly) == (documented(f"set aside on {kind}"), 1)
    assert not [purged.error for purged in store.purge(hidden) if purged.error]
    assert spent(unruly) == (documented(f"purged on {kind}"), 1)
    assert not list(store.list()) and not list(store.list("dredge-trash"))
