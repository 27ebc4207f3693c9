"""What a process needs at its start: tables and rights, and servers that do not refuse its configuration.

Each function returns one line that says what is wrong and what to do, or an empty text.  A server that does
not answer is no problem: a process may start before its servers, and waits for them.
"""

from __future__ import annotations

from model.db import schema
from model.db.connection import connection
from model.errors import RegistryError
from model.rights import read_granted
from worker.broker import uses
from worker.broker.refusals import BrokerRefuses
from worker.settings import Settings
from worker.storage.base import StoreRefuses, StoreUnavailable
from worker.storage.open import open_stores


def find_database_problem() -> str:
    """Return a problem if tables of this version or all rights to write are missing."""
    try:
        with connection():
            granted, pending = read_granted(), schema.pending_migrations()
    except RegistryError as error:
        return "" if error.retryable else str(error)
    if pending:
        return f"The database lacks {', '.join(pending)}: run `dredge init`, then `dredge check`"
    if not granted.collects:
        return f"The role {granted.role} may only look: deploy/roles.sql grants what workers need"
    return ""


def find_broker_problem(settings: Settings) -> str:
    """Return a problem if the broker or the Redis refuses the user or a command of a worker or beat."""
    try:
        uses.require(settings)
    except BrokerRefuses as error:
        return str(error)
    return ""


def find_storage_problem(settings: Settings) -> str:
    """Return a problem if every location refuses us; one that does not stops no other location."""
    problems = []
    for name, store in open_stores(settings.storage, upload=settings.upload_location).items():
        try:
            store.read_identity()
        except StoreRefuses as error:
            problems.append(f"{name}: {error}; see `dredge check`")
        except StoreUnavailable:
            return ""
        else:
            return ""
    return "; ".join(problems)
