"""A listing in pages, so that rows are asked about many objects at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from worker.storage.base import ObjectInfo

PAGE = 1_000


def pages(listing: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    """Cut a listing into pages."""
    left = iter(listing)
    while page := list(itertools.islice(left, PAGE)):
        yield page
