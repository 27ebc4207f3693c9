"""`dredge events`: watch the registry's events."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click
from kombu import Consumer, Queue

from worker.broker.connection import OUTAGE, open_channel
from worker.broker.refusals import explain, find_refusal, short
from worker.cli import output
from worker.cli.errors import say_problem
from worker.events.exchange import EXCHANGE, connection
from worker.events.message import CloudEvent
from worker.settings import Settings

# The broker deletes the queue a minute after its reader was killed.
EXPIRES_S = 60
RETRY_S = 1.0


@click.group("events")
def command() -> None:
    """Watch events."""


@command.command("tail")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@click.option(
    "--type", "pattern", default="#", show_default=True, help="Event types to print: tag.deleted, tag.*, #."
)
@click.option("--limit", type=click.IntRange(1), help="End after so many events.")
def tail(as_json: bool, pattern: str, limit: int | None) -> None:
    """Print new events as they arrive, until Ctrl-C; earlier events are not shown.

    An event that is delivered twice is printed twice, with the same ID.
    """
    settings = output.settings()
    output.require(settings, "broker_url")
    stop = threading.Event()
    # No exception, because it would interrupt the connection in the middle of an answer.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for n, event in enumerate(listen(settings, pattern, stop, as_json=as_json), 1):
        output.emit_json(event) if as_json else click.echo(line(event))
        if n == limit:
            stop.set()


def line(event: CloudEvent) -> str:
    """Return one event as a line: its time, type, subject, and data; in a pipe, tabs separate them."""
    when = (
        datetime.fromisoformat(event["time"]).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    )
    named = {"namespace", "repository", "repository_id", "tag", "subject"}
    facts = [f"{name}={value}" for name, value in event["data"].items() if name not in named]
    cells = [when, event["type"], str(event["subject"]), " ".join(facts)]
    if sys.stdout.isatty():
        return output.short(f"{cells[0]}  {cells[1]:32}  {cells[2]}  {cells[3]}".rstrip())
    return "\t".join(cells)


def listen(
    settings: Settings, pattern: str, stop: threading.Event, *, as_json: bool = False
) -> Iterator[CloudEvent]:
    """Yield every matching event, from a queue of this process; waits while the broker is unavailable.

    Raises `BrokerRefuses`.
    """
    name = f"dredge.tail.{uuid.uuid4().hex[:12]}"
    queue = Queue(name, EXCHANGE, routing_key=pattern, durable=False, expires=EXPIRES_S)
    if not as_json:
        click.echo("dredge: listening; Ctrl-C ends", err=True)
    while not stop.is_set():
        try:
            yield from _received(settings, queue, stop)
        except OUTAGE as error:
            if find_refusal(error):
                raise explain(error, "DREDGE_BROKER_URL") from error
            say_problem(f"the broker did not answer, trying again: {short(error)}", as_json=as_json)
            stop.wait(RETRY_S)


def _received(settings: Settings, queue: Queue, stop: threading.Event) -> Iterator[CloudEvent]:
    waiting: list[CloudEvent] = []

    def keep(body: Any, message: Any) -> None:
        waiting.append(body)
        message.ack()

    with (
        connection(settings.broker_url, settings.key_prefix) as link,
        Consumer(open_channel(link), queues=[queue], callbacks=[keep], accept=["json"]) as consumer,
    ):
        while not stop.is_set():
            with suppress(TimeoutError):
                link.drain_events(timeout=0.5)
            for event in waiting:
                if not stop.is_set():
                    yield event
            waiting.clear()
        consumer.queues[0].delete()
