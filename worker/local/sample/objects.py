"""Write a sample's many small objects in parallel."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from worker.storage.base import Store
from worker.storage.local import LocalStore

_THREADS = 8
_PENDING = 2_000


class ObjectWriter:
    """`with ObjectWriter(store) as write: write(path, content)`; leaving the block waits for all of them.

    Raises the error of a failed write at the next call, or when the block ends.  Does not sync the files of
    a local directory, because a sample that a power cut damages can be made again.
    """

    def __init__(self, store: Store) -> None:
        self._store: Store = LocalStore(store.root, fsync=False) if isinstance(store, LocalStore) else store
        self._pool = ThreadPoolExecutor(1 if isinstance(store, LocalStore) else _THREADS)
        self._waiting: deque[Future[int]] = deque()

    def __call__(self, path: str, content: bytes) -> None:
        self._waiting.append(self._pool.submit(self._store.write, path, (content,)))
        while len(self._waiting) > _PENDING or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Wait until every object is written.  Raises the error of the first failed write."""
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self._pool.shutdown(cancel_futures=True)
