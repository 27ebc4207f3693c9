"""An application whose collections of `FATAL` end in an error that would end their process."""

from __future__ import annotations

import os
from typing import Any

from tests.worker.broker.poisoned import collect_repository
from worker import application
from worker.jobs import collect


class Panic(BaseException):
    """As a native library raises it: nobody catches it by its base class."""


def collect_or_end(context: Any, repository_id: int, *, budget_s: float) -> Any:
    if repository_id == int(os.environ["FATAL"]):
        raise {"MemoryError": MemoryError, "Panic": Panic}[os.environ["FATAL_KIND"]]("no more")
    return collect_repository(context, repository_id, budget_s=budget_s)


collect.collect_repository = collect_or_end
application.tasks["worker.tasks.garbage_collect_repo"].default_retry_delay = 0.1
