"""Handle an item of a batch alone, so that one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable

from model.errors import BrokenInstallation, RegistryError, StatementTimeout
from model.gc import poison
from worker import logs

log = logs.logger("dredge.poison")


def is_of_an_item(error: Exception) -> bool:
    """Return whether a single item may be the cause.  An outage or missing rights stop all items alike."""
    if isinstance(error, StatementTimeout):
        return True
    return not isinstance(error, BrokenInstallation) and not (
        isinstance(error, RegistryError) and error.retryable
    )


def attempt_alone(stage: str, key: str, work: Callable[[], object], *, data: str | None = None) -> bool:
    """Count an attempt, then do the work of one item.  Returns False if it failed and was set aside.

    Raises errors that the item did not cause, such as an outage; the attempt stays counted.
    """
    tries = poison.attempt(stage, key, data)
    try:
        work()
    except Exception as error:
        poison.record_error(stage, key, f"{type(error).__name__}: {error}")
        if not is_of_an_item(error):
            raise
        log.error("item.set_aside", stage=stage, key=key, tries=tries, error=str(error))
        return False
    poison.clear(stage, key)
    return True
