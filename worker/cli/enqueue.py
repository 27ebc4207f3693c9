"""`dredge enqueue`: ask the workers to collect."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from celery.exceptions import TimeoutError as NoOutcome

from model.db.clock import now_ms
from model.errors import RegistryError
from model.gc.due.note import note_due
from model.human import counted
from model.names import parse_repository
from worker import wiring
from worker.app import application
from worker.broker.connection import OUTAGE, connect
from worker.broker.refusals import explain
from worker.cli import options, output
from worker.cli import repositories as named
from worker.cli.errors import say_problem
from worker.client import Client
from worker.jobs.plan import all_due
from worker.settings import Settings


@dataclass(frozen=True)
class TaskOutcome:
    """The result of one repository's task, or the reason why there is none."""

    repository: str
    result: dict[str, Any] | None = None
    error: str | None = None


@click.command("enqueue")
@click.argument("repositories", metavar="[REPO]...", nargs=-1, type=named.REPOSITORY)
@click.option("--all", "everything", is_flag=True, help="Every repository with garbage.")
@click.option(
    "--wait",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Wait at most this long for the outcome of each REPO and print it.",
)
@options.json_object
def command(repositories: tuple[str, ...], everything: bool, wait: float | None, as_json: bool) -> None:
    """Collect through the workers: one task for each REPO, or for every one with garbage.

    Without --wait the tasks are only enqueued; `dredge status` shows what is left to do.
    """
    if bool(repositories) == everything:
        raise click.UsageError("Name repositories, or give --all")
    if everything and wait:
        raise click.UsageError("--wait needs the names of repositories")
    settings = output.settings()
    output.require(settings, "broker_url")
    if everything:
        _print_all(*_everything(settings), as_json=as_json)
        return
    names = _existing(settings, repositories)
    outcomes = _enqueue(settings, names, wait)
    _print_named(names, outcomes, as_json=as_json)
    sys.exit(1 if any(outcome.error for outcome in outcomes) else 0)


def _existing(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the names; with a configured database, check first that the repositories exist."""
    if not settings.database_url:
        return [str(parse_repository(name)) for name in names]
    with output.connected(settings):
        return [found.path for found in named.find(names)]


def _enqueue(settings: Settings, names: Sequence[str], wait_s: float | None) -> list[TaskOutcome]:
    with Client(settings.broker_url, redis_url=settings.own_redis, key_prefix=settings.key_prefix) as client:
        variable = settings.own_redis_variable
        try:
            # The client subscribes to results, and Celery tries that for most of a minute.
            with connect(settings.own_redis) as redis:
                redis.ping()
            variable = "DREDGE_BROKER_URL"
            results = [(name, client.collect(name)) for name in names]
        except OUTAGE as error:
            raise explain(error, variable) from error
        return [_outcome(name, result, wait_s) for name, result in results] if wait_s else []


def _outcome(name: str, result: Any, wait_s: float) -> TaskOutcome:
    try:
        return TaskOutcome(name, result=result.get(timeout=wait_s))
    except NoOutcome:
        return TaskOutcome(
            name, error=f"no outcome within {wait_s:g} s: is a worker running? It stays enqueued"
        )
    except RegistryError as error:
        return TaskOutcome(name, error=str(error))
    except Exception as error:  # noqa: BLE001  a task's error may be of any class
        return TaskOutcome(name, error=f"{type(error).__name__}: {error}")


def _everything(settings: Settings) -> tuple[int, int]:
    """Enqueue every repository with garbage.  Returns how many there are, and how many were enqueued."""
    with output.connected(settings):
        due = all_due(settings.policy)
        note_due(dict.fromkeys(due, now_ms()))
        return len(due), wiring.queue(application, settings).collect(due)


def _print_all(due: int, sent: int, *, as_json: bool) -> None:
    if as_json:
        output.emit_json({"repositories": sent, "due": due, "already_enqueued": due - sent})
    elif not due:
        click.echo("0 repositories enqueued: none has garbage now")
    else:
        waiting = f"; {due - sent:,} wait in the queue already" if due > sent else ""
        click.echo(f"{counted(sent, 'repository')} enqueued{waiting}")


def _print_named(names: Sequence[str], outcomes: Sequence[TaskOutcome], *, as_json: bool) -> None:
    if as_json:
        output.emit_json({"repositories": len(names), "outcomes": [vars(outcome) for outcome in outcomes]})
        return
    click.echo(f"{counted(len(names), 'repository')} enqueued")
    for outcome in outcomes:
        if outcome.result is None:
            say_problem(f"{outcome.repository}: {outcome.error}", as_json=False)
            continue
        tags = counted(outcome.result["tags"], "tag")
        manifests = counted(outcome.result["manifests"], "manifest")
        more = "; more is enqueued" if outcome.result["has_more"] else ""
        click.echo(f"{outcome.repository}: {tags} and {manifests} removed{more}")
