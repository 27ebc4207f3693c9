"""The queue of a process that runs all stages itself."""

from __future__ import annotations

from collections.abc import Sequence


class NoQueue:
    """Enqueues nothing: the process calls the next job itself."""

    def collect(self, repository_ids: Sequence[int]) -> int:
        return 0

    def purge(self, repository_ids: Sequence[int], namespace_ids: Sequence[int] = ()) -> int:
        return 0

    def retain(self, repository_ids: Sequence[int]) -> int:
        return 0

    def review(self) -> None: ...

    def erase(self) -> None: ...

    def reports(self) -> None: ...
