"""Handlers of Celery's signals, which run at the start and the end of each process of a worker."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import signals

from model.db.connection import connection, db
from model.errors import RegistryError
from model.gc.due.attempt import record_failure
from model.running_task import running_task
from worker import logs, metrics, requirements, tracing, wiring
from worker.app import application
from worker.broker import kombu_patch, routes
from worker.health import HealthServer, find_outages
from worker.registry_state import registry_state
from worker.settings import Settings, SettingsError

log = logs.logger("dredge.worker")


def install() -> None:
    """Connect the handlers.  Idempotent."""
    kombu_patch.install()
    signals.setup_logging.connect(_log)
    signals.worker_process_init.connect(_forked)
    signals.worker_process_shutdown.connect(_ending)
    signals.task_prerun.connect(_running)
    signals.task_failure.connect(_failed)
    signals.worker_init.connect(_starting)
    signals.beat_init.connect(_require_broker)
    signals.worker_ready.connect(_ready)
    signals.worker_shutdown.connect(_stopped)


def _log(**_: Any) -> None:
    """Configure our log instead of Celery's."""
    logs.configure(Settings.from_env(os.environ))


_health: HealthServer | None = None


def _starting(**_: Any) -> None:
    """Prepare the main process before the pool is forked.  A port that is in use ends the worker here."""
    global _health
    settings = Settings.from_env(os.environ)
    _require(settings)
    if not settings.metrics_port:
        return
    metrics.prepare()
    _health = HealthServer(lambda: find_outages(settings))
    try:
        _health.bind(settings.metrics_host, settings.metrics_port)
    except SettingsError as error:
        # Celery only logs an exception of a signal's handler; the worker would run without metrics.
        metrics.stop()
        # The log is not configured yet.
        sys.stderr.write(f"dredge: {error}\n")
        raise SystemExit(2) from error


def _require(settings: Settings) -> None:
    """End the worker with one line if it could do no work: see `worker.requirements`."""
    problem = "" if settings.database_url else "DREDGE_DATABASE_URL: not set; see `dredge check`"
    if not problem:
        wiring.context(application)
        problem = requirements.find_database_problem()
        # The forked children must not share this connection.
        db.close_all()
    _end(problem or requirements.find_broker_problem(settings) or requirements.find_storage_problem(settings))


def _require_broker(**_: Any) -> None:
    """End a beat with one line if the broker or the Redis refuses it."""
    _end(requirements.find_broker_problem(Settings.from_env(os.environ)))


def _end(problem: str) -> None:
    """End the process if there is a problem.  The log is not configured yet, and Celery logs exceptions."""
    if problem:
        sys.stderr.write(f"dredge: {logs.masked(problem)}\n")
        raise SystemExit(1)


def _ready(**_: Any) -> None:
    """Run in the main process after the pool has started."""
    if _health is not None:
        registry = metrics.registry()
        registry.register(registry_state(wiring.context(application).policy))
        _health.serve(registry)


def _stopped(**_: Any) -> None:
    """Run in the main process at its end."""
    if _health is not None:
        _health.close()
    metrics.stop()


def _forked(**_: Any) -> None:
    """Run in each child of the pool before its first task."""
    tracing.start()
    wiring.after_fork()
    wiring.context(application)


def _ending(**_: Any) -> None:
    """Run in each child of the pool after its last task."""
    tracing.stop()


def _running(task_id: str = "", task: Any = None, **_: Any) -> None:
    """Run in the child before each task: set the task's name, which certificates record."""
    running_task.set(f"{task.name} {task_id}")


def _failed(sender: Any = None, exception: object = None, args: Any = (), **_: Any) -> None:
    """Record a failure of the repository when its task has killed a child as often as allowed."""
    if not isinstance(exception, WorkerLostError) or sender.name != routes.COLLECT or not args:
        return
    # In a thread, because the main process must not wait for the database.
    threading.Thread(target=_note_poison, args=(args[0], str(exception)), daemon=True).start()


def _note_poison(repository_id: object, error: str) -> None:
    if not isinstance(repository_id, int):
        return
    try:
        with connection():
            record_failure(repository_id, error)
    except RegistryError as failed:
        log.warning("failure.not_recorded", repository=repository_id, error=str(failed))
