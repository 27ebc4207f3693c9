"""What the drivers of buckets share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from model.storage_paths import IDENTITY_PATH
from worker.storage.base import NoSuchObject

# A larger object is sent in parts of this many bytes.
PART = 8 << 20


@contextmanager
def spooled(chunks: Iterable[bytes]) -> Iterator[tuple[IO[bytes], int]]:
    """Collect the chunks in a local temporary file, in memory while it is small.  Yields it and its size.

    So a driver sends nothing before `chunks` has ended.
    """
    with tempfile.SpooledTemporaryFile(max_size=PART) as spool:
        size = 0
        for chunk in chunks:
            size += spool.write(chunk)
        spool.seek(0)
        yield spool, size


def read_identity(read: Callable[[str], Iterator[bytes]]) -> str | None:
    """Read a store's identity with its `read`, one GET request."""
    try:
        return b"".join(read(IDENTITY_PATH)).decode().strip() or None
    except NoSuchObject:
        return None
