"""Which task or command this context runs, as certificates and people name it."""

from __future__ import annotations

from contextvars import ContextVar

# `worker.tasks.garbage_collect_repo 3f0c…` in a worker, `dredge collect` on the command line.
running_task: ContextVar[str] = ContextVar("running_task", default="unnamed")
