"""An application whose collections of `POISON` kill their process: run by the tests of outages."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from model.gc.collect import Batch, collect_batch, collect_batches
from worker import application
from worker.jobs import collect, together


def before_each_batch(fail: Callable[[Sequence[int]], None]) -> None:
    """Call `fail` with the repositories of each batch before it begins, of one or of several together."""

    def one(repository_id: int, **options: Any) -> Batch:
        fail([repository_id])
        return collect_batch(repository_id, **options)

    def several(repository_ids: Sequence[int], **options: Any) -> list[Batch]:
        fail(repository_ids)
        return collect_batches(repository_ids, **options)

    vars(collect)["collect_batch"] = one
    vars(together)["collect_batches"] = several
    application.tasks["worker.tasks.garbage_collect_repo"].default_retry_delay = 0.1


def die(repository_ids: Sequence[int]) -> None:
    if int(os.environ.get("POISON", "0")) in repository_ids:
        os.kill(os.getpid(), signal.SIGKILL)


before_each_batch(die)
