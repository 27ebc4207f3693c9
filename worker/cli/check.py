"""`dredge check`: is everything there, and does it fit?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import click
import redis

from model.controls.health import read_health
from model.db import connection as database
from model.db import dsn, schema
from model.db import lookup_rows as lookups
from model.errors import RegistryError
from model.events import trigger as triggers
from model.gc.orphans.share import read_shares
from model.gc.poison import count_poison
from model.gc.storage_identity import find_suspended
from model.purge.catalogue import find_unknown_references
from worker.broker.connection import connect
from worker.cli import output
from worker.human import human_ms
from worker.jobs.quarantine import choose_quarantine_s
from worker.jobs.storage_settings import find_aliases, find_unsafe
from worker.logs import masked
from worker.settings import Settings
from worker.storage.base import open_store, open_stores


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `problem` says what to do, or is empty."""

    part: str
    what: str
    problem: str = ""


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each finding.")
def command(as_json: bool) -> None:
    """Verify database, schema, broker, cache and storage.

    Every problem is listed with what to do about it; exit code 1 if there is one.
    """
    settings = output.settings()
    failed = False
    for part in (_database, _broker, _cache, _quay, _storage):
        for finding in _guarded(part, settings):
            failed = failed or bool(finding.problem)
            _show(finding, as_json)
    sys.exit(1 if failed else 0)


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        output.emit_json(asdict(finding))
    else:
        mark = "PROBLEM" if finding.problem else "ok"
        click.echo(f"{mark:8} {finding.part:9} {masked(finding.problem or finding.what)}")


def _guarded(part: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    """The part's findings; what it raises becomes one of them."""
    name = part.__name__.removeprefix("_")
    try:
        yield from part(settings)
    except (RegistryError, redis.RedisError, OSError, ValueError) as error:
        yield Finding(name, "reachable", f"{error}")


def _database(settings: Settings) -> Iterator[Finding]:
    if not settings.database_url:
        yield _unset("database", "DREDGE_DATABASE_URL")
        return
    database.configure(
        settings.database_url,
        application_name="dredge-check",
        pooled=not settings.prepared_statements,
    )
    try:
        with database.connection():
            version = database.fetch_one("SELECT current_setting('server_version') AS version").version
            place = dsn.parse(settings.database_url).place
            yield Finding("database", f"PostgreSQL {version} answers at {place}")
            if replaced := ", ".join(map(str, database.find_inherited())):
                yield Finding(
                    "database", f"Sessions replace what the role, database or server sets: {replaced}"
                )
            problems = [*schema.check(), *find_unknown_references()]
            yield from (Finding("schema", "tables", problem) for problem in problems)
            if not problems:
                yield Finding("schema", "all tables, columns and indexes are there")
                recorded = "every ended tag" if triggers.triggers_installed() else "tags that Dredge ends"
                yield Finding("events", f"{recorded}: see `dredge init --triggers`")
                yield from _locations(settings)
                yield from _poison()
                yield from _throttle(settings)
    finally:
        database.db.close_all()


def _locations(settings: Settings) -> Iterator[Finding]:
    for name in lookups.find_used_locations():
        if name not in settings.storage:
            problem = f"Blobs lie at {name}, which DREDGE_STORAGE does not name: their objects stay for ever"
            yield Finding("storage", name, problem)
    for found in find_suspended():
        problem = f"{found.location} is suspended, nothing is erased there: {found.problem}"
        yield Finding("storage", found.location, problem)
    yield from _quarantine(settings)
    for share in read_shares():
        if excess := share.find_excess(settings.sweep_share):
            yield Finding("storage", share.location, f"The sweep has stopped at {share.location}: {excess}")


def _quarantine(settings: Settings) -> Iterator[Finding]:
    stores = open_stores(settings.storage, upload=settings.upload_location)
    for names in find_aliases(stores):
        what = "are names of one store: an object is erased when no row of any of them refers to it"
        yield Finding("storage", f"{', '.join(names)} {what}")
    for name, store in stores.items():
        if problem := find_unsafe(settings, store):
            yield Finding("storage", name, f"{name}: {problem}")
        elif seconds := choose_quarantine_s(settings, store):
            yield Finding("storage", f"{name}: dead objects stay in the trash for {human_ms(1000 * seconds)}")
        else:
            what = "dead objects are erased at once; a process that is frozen in a request can undo a push"
            yield Finding("storage", f"{name}: {what}")


def _throttle(settings: Settings) -> Iterator[Finding]:
    if not settings.throttle_lag_s and not settings.throttle_sessions:
        return
    health = read_health()
    what = f"a standby is {health.lag_ms / 1000:.1f} s behind, {health.active_sessions} sessions are active"
    problem = "The role cannot see standbys and sessions: GRANT pg_read_all_stats to it, or do not throttle"
    yield Finding("throttle", what, "" if health.sees_all else problem)


def _poison() -> Iterator[Finding]:
    for stage, count in count_poison().items():
        problem = (
            f"{count:,} set aside by {stage}: `dredge status` says why, `dredge retry {stage}` tries again"
        )
        yield Finding("stages", stage, problem)


def _broker(settings: Settings) -> Iterator[Finding]:
    if not settings.broker_url:
        yield _unset("broker", "DREDGE_BROKER_URL")
        return
    yield from _redis("broker", settings.broker_url)
    if urlsplit(settings.broker_url).scheme == "sentinel":
        return
    with connect(settings.broker_url) as client:
        memory = client.info("memory")
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory") and policy != "noeviction":
        problem = (
            f"The broker throws messages away when it is full ({policy}): set maxmemory-policy noeviction"
        )
        yield Finding("broker", "memory", problem)


def _cache(settings: Settings) -> Iterator[Finding]:
    for url in filter(None, (settings.cache_url or settings.broker_url, settings.cache_replica_url)):
        yield from _redis("cache", url)


def _quay(settings: Settings) -> Iterator[Finding]:
    if settings.quay_redis_url:
        yield from _redis("quay", settings.quay_redis_url)


def _redis(part: str, url: str) -> Iterator[Finding]:
    scheme = urlsplit(url).scheme
    if scheme not in ("redis", "rediss", "unix"):
        yield Finding(part, f"{scheme} is not tried here")
        return
    try:
        with connect(url) as client:
            version = client.info("server").get("redis_version", "?")
    except (redis.RedisError, OSError) as error:
        what = f"{_place(url)} does not answer ({error}): start it, or correct DREDGE_{part.upper()}_URL"
        yield Finding(part, "reachable", what)
    else:
        yield Finding(part, f"Redis {version} answers at {_place(url)}")


def _storage(settings: Settings) -> Iterator[Finding]:
    if not settings.storage:
        yield _unset("storage", "DREDGE_STORAGE")
    for name, url in settings.storage.items():
        try:
            open_store(url).check()
        except (RegistryError, OSError) as error:
            yield Finding("storage", name, f"{name}: {error}")
        else:
            yield Finding("storage", f"{name}: objects can be written, read and erased")


def _unset(part: str, variable: str) -> Finding:
    return Finding(part, "configured", f"{variable} is not set: set it, or use `dredge embedded -- COMMAND`")


def _place(url: str) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or parts.path}{port}"
