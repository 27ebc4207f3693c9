"""Every error has a verdict that somebody decided on, and none of a task's ends the worker."""

from __future__ import annotations

import errno
import inspect
from collections.abc import Iterator
from types import ModuleType

import amqp.exceptions
import celery.exceptions
import kombu.exceptions
import peewee
import psycopg2
import psycopg2.errors
import pytest
import redis.exceptions
from psycopg2 import errorcodes

from model import registry
from model.db import connection as database
from model.db import sqlstate
from model.db.connection import db, execute, fetch_one
from model.errors import (
    BrokenInstallation,
    Contended,
    DatabaseReadOnly,
    DatabaseUnavailable,
    SchemaMismatch,
    StatementTimeout,
    Verdict,
)
from tests.support.world import World
from worker import verdicts
from worker.broker.refusals import find_refusal

CODES = {code for name, code in vars(errorcodes).items() if name.isupper() and isinstance(code, str)}
# What Celery says about its own control flow and command line never comes out of a task's work.
CONTROL = (celery.exceptions.TaskPredicate, SystemExit, Warning, celery.exceptions.ClickException)


def classes(module: ModuleType) -> Iterator[type[BaseException]]:
    for _, made in inspect.getmembers(module, inspect.isclass):
        if issubclass(made, BaseException) and not issubclass(made, CONTROL):
            yield made


def made(kind: type[BaseException]) -> BaseException:
    """An instance without its constructor's demands."""
    return kind.__new__(kind)


def test_every_sqlstate_of_postgresql_is_listed() -> None:
    assert {code for code in CODES if not sqlstate.is_listed(code)} == set()
    assert {code for code in sqlstate._CODES if code not in CODES} <= {"25P04", "57P04"}


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("25006", Verdict.NOT_NOW),
        ("57014", Verdict.NOT_NOW),
        ("53300", Verdict.NOT_NOW),
        ("40P01", Verdict.NOT_NOW),
        ("23503", Verdict.NEVER),
        ("22P02", Verdict.NEVER),
        ("XX001", Verdict.NEVER),
        ("42501", Verdict.BROKEN),
        ("3D000", Verdict.BROKEN),
        ("28P01", Verdict.BROKEN),
    ],
)
def test_a_code_says_what_to_do(code: str, verdict: Verdict) -> None:
    error = psycopg2.errors.lookup(code)()
    error.__setstate__({"pgcode": code})  # type: ignore[no-untyped-call]
    assert verdicts.sort(error) is verdict
    wrapped = peewee.DatabaseError("wrapped")
    wrapped.__cause__ = error
    assert verdicts.sort(wrapped) is verdict


LIBRARIES = [redis.exceptions, kombu.exceptions, celery.exceptions, amqp.exceptions]


@pytest.mark.parametrize("module", LIBRARIES, ids=lambda module: module.__name__)
def test_every_error_of_the_libraries_is_decided_on(module: ModuleType) -> None:
    listed = tuple(each for _, kinds in verdicts._SORTED for each in kinds)
    # Those that say a task must not be tried again as it is, like an error of Python's own.
    never = {"SoftTimeLimitExceeded", "TimeLimitExceeded", "Terminated", "WorkerLostError", "HttpError"}
    never |= {"MessageNacked", "BackendError", "ChildDeadlockedError"}
    never |= {"CrossSlotTransactionError", "InvalidPipelineStack", "IncorrectPolicyType"}
    undecided = {
        kind.__name__
        for kind in classes(module)
        if not issubclass(kind, listed) and not issubclass(kind, OSError) and kind.__name__ not in never
    }
    assert undecided == set()


def test_a_refused_password_is_broken_and_a_lost_connection_is_not() -> None:
    assert verdicts.sort(made(redis.exceptions.AuthenticationError)) is Verdict.BROKEN
    assert verdicts.sort(made(redis.exceptions.NoPermissionError)) is Verdict.BROKEN
    assert verdicts.sort(made(redis.exceptions.ReadOnlyError)) is Verdict.NOT_NOW
    assert verdicts.sort(made(kombu.exceptions.OperationalError)) is Verdict.NOT_NOW
    assert verdicts.sort(made(kombu.exceptions.DecodeError)) is Verdict.NEVER
    assert verdicts.sort(made(amqp.exceptions.AccessRefused)) is Verdict.BROKEN
    assert verdicts.sort(made(amqp.exceptions.ConnectionForced)) is Verdict.NOT_NOW


def test_a_chain_of_errors_that_is_a_circle_has_an_end() -> None:
    first, second = kombu.exceptions.OperationalError("first"), redis.exceptions.ConnectionError("second")
    first.__cause__, second.__cause__ = second, first
    assert find_refusal(first) is None
    second.__cause__ = made(redis.exceptions.AuthenticationError)
    assert find_refusal(first) is second.__cause__


def test_every_number_of_the_operating_system_has_a_verdict() -> None:
    found = {errno.errorcode[number]: verdicts.sort(OSError(number, "")) for number in errno.errorcode}
    assert {found[name] for name in ("ENOSPC", "EMFILE", "ECONNREFUSED", "EIO")} == {Verdict.NOT_NOW}
    assert {found[name] for name in ("EACCES", "EROFS", "ENOENT")} == {Verdict.BROKEN}
    assert found["ENAMETOOLONG"] is Verdict.NEVER


def test_what_nobody_thought_of_is_not_tried_again() -> None:
    for error in (ValueError(), MemoryError(), RecursionError(), KeyError()):
        assert verdicts.sort(error) is Verdict.NEVER


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT FROM nowhere", SchemaMismatch),
        ("SELECT nothing()", BrokenInstallation),
        ("SET LOCAL statement_timeout = 10; SELECT pg_sleep(5)", StatementTimeout),
        ("DO $$ BEGIN RAISE lock_not_available; END $$", Contended),
        ("DO $$ BEGIN RAISE insufficient_resources; END $$", DatabaseUnavailable),
        ("DO $$ BEGIN RAISE foreign_key_violation; END $$", peewee.IntegrityError),
    ],
)
def test_the_database_says_it_in_the_models_words(
    world: World, statement: str, expected: type[Exception]
) -> None:
    bystander = world.tag("bystander")
    with pytest.raises(expected) as caught, world.unchanged(), database.transaction():
        execute("DELETE FROM tag WHERE id = %s", (int(bystander),))
        execute(statement)
    assert type(caught.value) is expected


def test_a_server_that_became_read_only_is_left_and_asked_again(world: World) -> None:
    """Case 84: the connection goes with the error, and the next may reach another server."""
    world.tag("v1")
    name = world.url.rpartition("/")[2]
    database.configure(world.url)
    with database.connection():
        before = fetch_one("SELECT pg_backend_pid() AS pid").pid
        execute("SET default_transaction_read_only = on")
        with pytest.raises(DatabaseReadOnly):
            registry.delete_tag(world.repository_id, "v1")
        assert fetch_one("SELECT pg_backend_pid() AS pid").pid != before
        assert registry.delete_tag(world.repository_id, "v1") is not None
    assert db.database == name
