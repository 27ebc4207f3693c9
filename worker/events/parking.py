"""Set aside messages that cannot be handled, with their content, and retry them one at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

from model.db.connection import connection
from model.errors import RegistryError
from model.gc import poison
from worker import logs
from worker.events.message import CloudEvent, is_event
from worker.jobs.isolation import attempt_alone

log = logs.logger("dredge.consumer")

STAGE = "consumer"
RETRIES = 100
BODY_LIMIT = 100_000

Handler = Callable[[Sequence[CloudEvent]], None]


class Parking:
    """Stores the messages that the consumer cannot handle."""

    def attempt(self, event: CloudEvent, handle: Handler) -> None:
        """Count an attempt, then handle one event alone; set it aside if that fails.

        Does nothing before the event's next try is due.  Raises errors that the event did not cause.
        """
        with connection():
            if poison.is_waiting(STAGE, event["id"]):
                return
            try:
                attempt_alone(STAGE, event["id"], lambda: handle([event]), data=json.dumps(event))
            except RegistryError:
                # The message is redelivered, and must not wait for its next try then.
                poison.clear(STAGE, event["id"])
                raise

    def park(self, body: object, error: str) -> None:
        """Set aside a message that is not an event."""
        text = str(body)[:BODY_LIMIT].replace("\0", "")
        key = hashlib.sha256(text.encode()).hexdigest()
        with connection():
            poison.attempt(STAGE, key, text)
            poison.record_error(STAGE, key, error)
        log.error("event.rejected", error=error, body=text[:200])


def retry_parked(handle: Handler) -> int:
    """Retry messages whose next try is due, one at a time.  Returns the number handled."""
    with connection():
        due = poison.find_due(STAGE, limit=RETRIES)
        return sum(_retry(each, handle) for each in due)


def _retry(due: poison.DuePoison, handle: Handler) -> bool:
    return attempt_alone(STAGE, due.key, lambda: handle([_event(due.data)]))


def _event(data: str | None) -> CloudEvent:
    event = json.loads(data or "null")
    if not is_event(event):
        raise ValueError("not a CloudEvent")
    return dict(event)
