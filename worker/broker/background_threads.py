"""The threads in every worker's main process beside Celery: the relay, the consumer and the due timer.

Each thread survives any error, including outages of the broker and the database, and never ends the worker.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from celery import Celery, bootsteps

from model.db.connection import connection
from model.db.queue_start import Key, QueueStart
from model.errors import RegistryError
from model.events.outbox import Listener
from worker import logs
from worker.events.consumer import EventConsumer
from worker.events.message import CloudEvent
from worker.events.parking import Parking
from worker.events.publisher import Publisher
from worker.events.react import react
from worker.events.relay import Relayed, relay, republish_after_flush
from worker.jobs.context import JobContext
from worker.jobs.due import enqueue_due
from worker.registry_state import registry_state
from worker.wiring import context

log = logs.logger("dredge.background")

POLL_S = 1.0
# Seconds between two looks whether the broker was flushed.
FLUSH_CHECK_S = 3.0
# Seconds between two looks for due repositories: the first after some were found, else the second.
TICK_S, IDLE_TICK_S = 0.2, 1.0
# Commits come in bursts.  After the first commit of a burst the relay waits for others and publishes them
# together; it waits longer if the last burst, a moment ago, was large.
BATCHING_DELAY_S = 0.01
LONGEST_BATCHING_DELAY_S = 0.1
BUSY_S = 0.2
# Seconds after which a thread yields to others.  Celery dispatches tasks in this process, and would
# otherwise wait for the default of 5 ms.
SWITCH_S = 0.0005
LONGEST_PAUSE_S = 10.0
STOP_S = 8.0


class BackgroundThreads:
    """The threads.  Call `start` and `stop` once each."""

    def __init__(self, box: JobContext) -> None:
        self._box = box
        self._stop = threading.Event()
        url, prefix = box.settings.broker_url, box.settings.key_prefix
        self._publisher = Publisher(url, prefix)
        self._consumer = EventConsumer(url, prefix, self._handle, Parking(), redis_url=box.settings.own_redis)
        self._listener = Listener()
        self._unpublished = QueueStart()
        self._threads = [
            threading.Thread(target=self._forever, args=(body,), name=f"dredge-{name}", daemon=True)
            for name, body in self._bodies()
        ]

    def _bodies(self) -> Iterator[tuple[str, Callable[[], None]]]:
        yield from (("relay", self._relay), ("consumer", self._consume), ("due", self._due))
        if self._box.settings.metrics_port:
            yield "state", lambda: registry_state(self._box.policy).run(self._stop)

    def start(self) -> None:
        """Start the threads; each connects as soon as its server is available."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end, and wait at most `STOP_S` seconds for them."""
        self._stop.set()
        deadline = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _forever(self, body: Callable[[], None]) -> None:
        """Run `body` repeatedly; wait after an error, a little longer each time."""
        pause_s = 0.25
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                body()
            except RegistryError as error:
                log.warning(
                    "background.unavailable", thread=threading.current_thread().name, error=str(error)
                )
            except Exception:
                log.exception("background.failed", thread=threading.current_thread().name)
            pause_s = (
                0.25 if time.monotonic() - started > LONGEST_PAUSE_S else min(pause_s * 2, LONGEST_PAUSE_S)
            )
            self._stop.wait(pause_s)

    def _relay(self) -> None:
        """Publish after each commit that is announced, and every second in case an announcement was lost."""
        checked_s = published_s = float("-inf")
        rows = 0
        try:
            while not self._stop.is_set():
                with connection():
                    if time.monotonic() - checked_s >= FLUSH_CHECK_S:
                        if republish_after_flush(self._publisher):
                            self._unpublished = QueueStart()
                        checked_s = time.monotonic()
                    if found := self._publish():
                        rows, published_s = found, time.monotonic()
                burst = rows if time.monotonic() - published_s < BUSY_S else 1
                self._await_commit(min(BATCHING_DELAY_S * burst, LONGEST_BATCHING_DELAY_S))
        finally:
            self._listener.close()

    def _publish(self) -> int:
        """Publish the unpublished rows.  Returns their number."""
        step = self._relay_from(self._unpublished.begin())
        rows = step.rows
        while step.has_more and not self._stop.is_set():
            step = self._relay_from(self._unpublished.go_on())
            rows += step.rows
        return rows

    def _relay_from(self, start: Key) -> Relayed:
        """Publish a batch: `start` has the id of the first row that may be unpublished."""
        step = relay(self._publisher, from_id=start[0])
        self._unpublished.reach((step.first_id, 0) if step.first_id else None)
        return step

    def _await_commit(self, delay_s: float) -> None:
        """Wait for a commit, and then `delay_s` seconds for others."""
        try:
            if self._listener.wait(POLL_S):
                self._stop.wait(delay_s)
        except RegistryError as error:
            log.warning("relay.listen_failed", error=str(error))
            self._stop.wait(POLL_S)

    def _consume(self) -> None:
        self._consumer.run(self._stop)

    def _handle(self, events: Sequence[CloudEvent]) -> None:
        react(self._box, events)

    def _due(self) -> None:
        """Look often while there is something to enqueue; an idle worker hardly uses the processor."""
        found = 0
        while not self._stop.wait(TICK_S if found else IDLE_TICK_S):
            found = enqueue_due(self._box)


class BackgroundThreadsStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the threads after the pool has forked, so that no child starts with a copy of them."""

    requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._threads_running: BackgroundThreads | None = None

    def start(self, parent: Any) -> None:
        """Called in the worker's main process."""
        sys.setswitchinterval(SWITCH_S)
        self._threads_running = BackgroundThreads(context(parent.app))
        self._threads_running.start()

    def stop(self, parent: Any) -> None:
        """Called when the worker shuts down, warm or cold."""
        if self._threads_running is not None:
            self._threads_running.stop()

    terminate = stop


def install(app: Celery) -> None:
    """Make every worker of `app` run the background threads."""
    app.steps["worker"].add(BackgroundThreadsStep)
