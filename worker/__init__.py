"""Everything that runs the model: tasks, events, storage, the command line.

`celery -A worker …` finds the Celery application here.  It is built on first use, so importing the package
opens no connection.
"""

from __future__ import annotations

from importlib import import_module

# Importing `typing` takes most of the time in which Ctrl-C still ends the command line in a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("celery", "application"):
        return import_module("worker.tasks").application
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
