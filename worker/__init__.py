"""How and when the model runs: tasks, events, storage, the command line.

`celery -A worker …` finds the Celery application here; it is built on first use, so that
importing the package opens nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("celery", "application"):
        return import_module("worker.tasks").application
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
