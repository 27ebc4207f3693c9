"""An application whose collections of `POISON` kill their process: run by the tests of outages."""

from __future__ import annotations

import os
import signal
from typing import Any

from worker import application
from worker.jobs import collect

collect_repository = collect.collect_repository


def collect_or_die(context: Any, repository_id: int, *, budget_s: float) -> Any:
    if repository_id == int(os.environ["POISON"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return collect_repository(context, repository_id, budget_s=budget_s)


collect.collect_repository = collect_or_die
application.tasks["worker.tasks.garbage_collect_repo"].default_retry_delay = 0.1
