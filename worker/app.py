"""The Celery application, and the base class of every task.  Importing it opens no connection."""

from __future__ import annotations

import random
import time
from typing import Any

from celery import Celery, Task
from celery.exceptions import TaskPredicate

from model.db.connection import connection
from model.errors import RegistryError, Verdict
from worker import logs, metrics, verdicts
from worker.broker import periodic, routes

log = logs.logger("dredge.tasks")

LONGEST_DELAY_S = 60.0


class TaskBroken(RegistryError):
    """What ended a task is no ordinary error: only the task fails."""


class BaseTask(Task):  # type: ignore[misc]
    """A task that holds one database connection, and is retried after a temporary error.

    A task is retried a bounded number of times, with a growing delay, if `verdicts.sort` calls its error
    *not now*; it is redelivered if its process dies.  Any other error is in the result and in the log.  No
    error ends the worker.
    """

    abstract = True
    max_retries = 4
    default_retry_delay = 2
    throws = (RegistryError,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run once; called by the worker."""
        if (queued_ms := self.request.get("queued_ms")) is not None:
            metrics.waited(routes.QUEUE_OF[self.name], self.name, time.time() - queued_ms / 1000)
        with logs.bound(**self._ids(args)), metrics.task(self.name):
            try:
                with connection():
                    result = self.run(*args, **kwargs)
                    periodic.record_end(self.app, self.name)
                    return result
            except (SystemExit, KeyboardInterrupt, TaskPredicate):
                raise  # The process is asked to end, or the task itself asks for a retry or a rejection.
            except Exception as error:
                if verdicts.sort(error) is Verdict.NOT_NOW:
                    raise self.retry(exc=error, countdown=self._delay_s()) from error
                if isinstance(error, MemoryError):
                    # Celery's main process would treat a child's MemoryError as its own, and end.
                    raise TaskBroken("The task ran out of memory") from None
                raise
            except BaseException as error:
                # For example a panic of a native library.  The pool would treat it as the end of its process.
                raise TaskBroken(f"{type(error).__name__}: {error}") from error

    def _ids(self, args: tuple[Any, ...]) -> dict[str, object]:
        """Return the keys of every log line: the task, and its repository by ID or name."""
        ids: dict[str, object] = {"task": self.name, "task_id": self.request.id}
        if args and self.name in routes.OF_A_REPOSITORY:
            ids["repository_id" if isinstance(args[0], int) else "repository"] = args[0]
        elif len(args) > 1 and self.name in routes.OF_A_TAG:
            ids["repository"] = f"{args[0]}/{args[1]}"
        return ids

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Log in one line the task, its arguments and the error."""
        log.warning("task.failed", task=self.name, id=task_id, error=str(exc), kind=type(exc).__name__)

    def _delay_s(self) -> float:
        delay: float = self.default_retry_delay * 2**self.request.retries
        return min(delay, LONGEST_DELAY_S) * random.uniform(0.5, 1)


application = Celery("dredge", task_cls=BaseTask, config_source="celeryconfig", set_as_current=False)
