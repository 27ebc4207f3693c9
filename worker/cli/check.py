"""`dredge check`: verify the configuration, and every server that it names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click
import redis

from model.controls.health import read_health
from model.db import connection as database
from model.db import dsn, lookup_rows, schema
from model.db.introspection import read_server_version
from model.errors import RegistryError
from model.events import trigger as triggers
from model.gc.orphans.share import read_shares
from model.gc.poison import count_poison
from model.gc.storage_identity import others_write
from model.human import counted, human_ms
from model.periodic import list_periodic
from model.purge.references import find_unknown_references
from model.rights import read_granted
from worker.cli import output, tables
from worker.cli.check_retention import check_retention
from worker.cli.check_servers import check_broker, check_cache, check_quay
from worker.cli.finding import CheckResult, unset
from worker.jobs.quarantine import choose_quarantine_s
from worker.jobs.storage_identity import find_problems
from worker.jobs.storage_settings import find_aliases, find_unsafe
from worker.logs import masked
from worker.settings import Settings
from worker.storage.base import Stores
from worker.storage.open import open_store, open_stores


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each finding.")
def command(as_json: bool) -> None:
    """Verify database, schema, broker, cache and storage.

    Every problem is listed with what to do about it; exit code 1 if there is one.
    """
    # What a library warns of is a finding already.
    settings = output.settings(log_level="error")
    failed = False
    for part in (_database, check_broker, check_cache, check_quay, _storage):
        for finding in _guarded(part, settings):
            failed = failed or bool(finding.problem)
            _show(finding, as_json)
    sys.exit(1 if failed else 0)


def _show(finding: CheckResult, as_json: bool) -> None:
    if as_json:
        output.emit_json(asdict(finding))
    else:
        mark = "PROBLEM" if finding.problem else "ok"
        text = " ".join((finding.problem or finding.what).split())
        tables.sentence((mark, finding.part), masked(text))


def _guarded(part: Callable[[Settings], Iterator[CheckResult]], settings: Settings) -> Iterator[CheckResult]:
    """Yield the findings of a part; an error that it raises becomes a finding."""
    name = part.__name__.removeprefix("check").removeprefix("_")
    try:
        yield from part(settings)
    except (RegistryError, redis.RedisError, OSError, ValueError) as error:
        yield CheckResult(name, "reachable", f"{error}")


def _database(settings: Settings) -> Iterator[CheckResult]:
    if not settings.database_url:
        yield unset("database", "DREDGE_DATABASE_URL")
        return
    database.configure(
        settings.database_url,
        application_name="dredge-check",
        pooled=not settings.prepared_statements,
    )
    try:
        with database.connection():
            place = dsn.parse(settings.database_url).place
            yield CheckResult("database", f"PostgreSQL {read_server_version()} answers at {place}")
            if replaced := ", ".join(map(str, database.find_inherited())):
                yield CheckResult(
                    "database", f"Sessions replace what the role, database or server sets: {replaced}"
                )
            granted = read_granted()
            yield from (CheckResult("rights", granted.role, problem) for problem in granted.problems)
            if "SELECT" in granted.missing:
                return
            if not granted.collects:
                what = "may only look: workers and commands that change something need deploy/roles.sql"
                yield CheckResult("rights", f"The role {granted.role} {what}")
            problems = [*schema.check(), *find_unknown_references()]
            yield from (CheckResult("schema", "tables", problem) for problem in problems)
            if not problems:
                yield CheckResult("schema", "all tables, columns and indexes are there")
                recorded = "every ended tag" if triggers.triggers_installed() else "tags that Dredge ends"
                yield CheckResult("events", f"{recorded}: see `dredge init --triggers`")
                yield from _locations(settings)
                yield from _beside_quay(settings)
                yield from _periodic()
                yield from _poison()
                yield from check_retention(settings)
                yield from _throttle(settings)
    finally:
        database.db.close_all()


def _locations(settings: Settings) -> Iterator[CheckResult]:
    for name in lookup_rows.find_used_locations():
        if name not in settings.storage:
            problem = f"Blobs lie at {name}, which DREDGE_STORAGE does not name: their objects stay for ever"
            yield CheckResult("storage", name, problem)
    stores = open_stores(settings.storage, upload=settings.upload_location)
    suspended = find_problems(stores)
    for name, problem in suspended.items():
        yield CheckResult("storage", name, f"{name} is suspended, nothing is erased there: {problem}")
    # A store that refuses or does not answer cannot say how it keeps dead objects.
    answering = {name: store for name, store in stores.items() if name not in suspended}
    yield from _quarantine(settings, Stores(answering, stores.upload))
    for share in read_shares():
        if excess := share.find_excess(settings.sweep_share):
            yield CheckResult(
                "storage", share.location, f"The sweep has stopped at {share.location}: {excess}"
            )


def _quarantine(settings: Settings, stores: Stores) -> Iterator[CheckResult]:
    for names in find_aliases(stores):
        what = "name the same store: an object is erased when no row of any of them refers to it"
        yield CheckResult("storage", f"{', '.join(names)} {what}")
    for name, store in stores.items():
        if problem := find_unsafe(settings, store):
            yield CheckResult("storage", name, f"{name}: {problem}")
        elif seconds := choose_quarantine_s(settings, store):
            yield CheckResult(
                "storage", f"{name}: dead objects stay in the trash for {human_ms(1000 * seconds)}"
            )
        else:
            what = "dead objects are erased at once; a process that is frozen in a request can undo a push"
            yield CheckResult("storage", f"{name}: {what}")


def _beside_quay(settings: Settings) -> Iterator[CheckResult]:
    if not settings.quay_redis_url and others_write():
        what = "its locks are not taken, and its cache keeps what was collected"
        yield CheckResult("quay", f"A Quay writes here and DREDGE_QUAY_REDIS_URL is not set: {what}")


def _throttle(settings: Settings) -> Iterator[CheckResult]:
    if not settings.throttle_lag_s and not settings.throttle_sessions:
        return
    health = read_health()
    sessions = counted(health.active_sessions, "active session")
    what = f"a standby is {health.lag_ms / 1000:.1f} s behind, {sessions}"
    problem = "The role cannot see standbys and sessions: GRANT pg_read_all_stats to it, or do not throttle"
    yield CheckResult("throttle", what, "" if health.sees_all else problem)


def _periodic() -> Iterator[CheckResult]:
    """Beat sends each periodic task, and each end is a row; none is there before the first worker."""
    for each in list_periodic():
        ended = "has never ended" if each.ended_ms is None else f"last ended {human_ms(each.age_ms)} ago"
        what = f"The task {each.name} {ended}, one is due every {human_ms(each.interval_ms)}"
        if each.is_late:
            yield CheckResult("stages", what, f"{what}: start a beat and a worker, or see the worker's log")
        elif each.name == "find":
            yield CheckResult("stages", f"the last scan was {human_ms(each.age_ms)} ago")


def _poison() -> Iterator[CheckResult]:
    for stage, count in count_poison().items():
        problem = (
            f"{count:,} set aside by {stage}: `dredge status` says why, `dredge retry {stage}` tries again"
        )
        yield CheckResult("stages", stage, problem)


def _storage(settings: Settings) -> Iterator[CheckResult]:
    if not settings.storage:
        yield unset("storage", "DREDGE_STORAGE")
    for name, url in settings.storage.items():
        try:
            notes = open_store(url).check()
        except (RegistryError, OSError) as error:
            yield CheckResult("storage", name, f"{name}: {error}")
        else:
            done = "objects can be written, read and erased"
            yield CheckResult("storage", "; ".join([f"{name}: {done}", *notes]))
