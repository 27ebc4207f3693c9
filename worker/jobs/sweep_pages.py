"""Divide a listing into pages, so that one statement looks up many objects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from worker.storage.base import ObjectInfo

PAGE = 1_000


def pages(listing: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    """Divide a listing into pages."""
    left = iter(listing)
    while page := list(itertools.islice(left, PAGE)):
        yield page
