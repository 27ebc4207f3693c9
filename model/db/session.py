"""What every session sets for itself, so that it inherits nothing from a role, a database or a server.

A default of REPEATABLE READ would make the last look before an erase read an old snapshot; another
`search_path` would show other tables.  https://www.postgresql.org/docs/current/config-setting.html
"""

from __future__ import annotations

from typing import Any, NamedTuple

import peewee
import psycopg2
from playhouse.pool import _PooledPostgresqlDatabase

from model.db.dsn import Dsn
from model.errors import BadInput

ISOLATION = "READ COMMITTED"

# A transaction whose process is frozen must not hold its row locks for ever: the server ends it.
IDLE_IN_TRANSACTION_MS = 60_000

# `default_transaction_read_only` is not among them: whoever made a database read-only meant it.
OWNED = {
    "default_transaction_isolation": ISOLATION.lower(),
    "default_transaction_deferrable": "off",
    # A policy that hides rows would hide references: with `off` such a statement fails instead.
    "row_security": "off",
    # Every wait has an end: for a lock, for one statement, for a client that is frozen or gone.
    "lock_timeout": "10s",
    "statement_timeout": "120s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_MS}ms",
    "client_connection_check_interval": "10s",
    # Idle connections of the pool stay; long transactions are bounded by what they wait for.
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    # Every statement of a collection is an index probe for each id that it is given, also where
    # statistics are stale or were never gathered; see `connection.whole_tables`.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_nestloop": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "enable_hashagg": "on",
    "enable_sort": "on",
    "enable_material": "on",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
# The first server version that knows a parameter.
_SINCE = {
    "client_connection_check_interval": 140_000,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}

# A lost commit would forget a fence after its request was sent, so `off` is not inherited; what waits
# for standbys stays as it is.
_SET = """
SELECT current_schema()::text
UNION ALL
SELECT set_config(s.name, s.value, %(local)s)
FROM unnest(%(names)s::text[], %(values)s::text[]) AS s (name, value)
UNION ALL
SELECT set_config('synchronous_commit', 'on', %(local)s) WHERE current_setting('synchronous_commit') = 'off'
UNION ALL
SELECT current_schema()::text
"""

# `reset_val` is what the session had before: from the role, the database, or the server's files.
_INHERITED = """
SELECT name, reset_val AS inherited, setting AS used, coalesce(unit, '') AS unit
FROM pg_settings
WHERE name = ANY(%s) AND setting IS DISTINCT FROM reset_val AND reset_val IS DISTINCT FROM boot_val
ORDER BY name
"""

# A host that is gone is noticed within a minute, and not after the kernel's hours.
_NETWORK = {
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class Inherited(NamedTuple):
    """A parameter that a role, a database or the server sets, and that our sessions replace."""

    name: str
    inherited: str
    used: str
    unit: str

    def __str__(self) -> str:
        return f"{self.name}={self.inherited}{self.unit}"


class _Sessions(peewee.PostgresqlDatabase):
    """Connections that set `OWNED` for themselves."""

    dsn: Dsn
    pooled: bool

    def begin(self, isolation_level: str | None = None) -> None:
        """Begin a transaction whose isolation level is named, whatever the default is."""
        statement = f"BEGIN ISOLATION LEVEL {isolation_level or ISOLATION}"
        if self.pooled:
            connection: Any = super().connection
            statement += f"; {_settings_sql(connection(), self.dsn, local=True)}"
        self._run(statement)

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Run one statement; behind a pooler never outside a transaction."""
        if not self.pooled or self.in_transaction():
            return self._run(sql, params)
        with self.atomic():
            return self._run(sql, params)

    def _run(self, sql: str, params: Any = None) -> Any:
        run: Any = super().execute_sql
        return run(sql, params)

    def open_session(self) -> Any:
        """A new connection of the driver's, in autocommit mode, outside the pool."""
        connection = psycopg2.connect(dbname=self.database, **self.connect_params)
        try:
            connection.autocommit = True
            _set_parameters(connection, self.dsn, local=self.pooled)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> Any:
        return self.open_session()


class Database(_PooledPostgresqlDatabase, _Sessions):  # type: ignore[misc]
    """A pool of such connections.

    With `pooled`, a pooler gives each transaction another session of the server: the parameters are
    set at the beginning of each transaction and end with it, and every statement is in one.
    """

    def __init__(self, dsn: Dsn, *, pooled: bool, **options: Any) -> None:
        self.dsn = dsn
        self.pooled = pooled
        parameters: dict[str, Any] = _NETWORK | dsn.parameters | options
        super().__init__(dsn.database, **parameters)


def _set_parameters(connection: Any, dsn: Dsn, *, local: bool) -> None:
    """Set them; where they are local, only see whether the server takes them.  Raises `BadInput`."""
    with connection.cursor() as cursor:
        try:
            if local:
                cursor.execute("BEGIN")
            cursor.execute(_settings_sql(connection, dsn, local=local))
            ((before,), *_, (after,)) = cursor.fetchall()
            if local:
                cursor.execute("COMMIT")
        except (psycopg2.DataError, psycopg2.ProgrammingError) as error:
            text = str(error).splitlines()[0]
            raise BadInput(f"The options of the database's URL are refused: {text}") from error
    # Two schemas may each have a registry, and only one of them has the rows that keep objects alive.
    if before not in (None, after) and "search_path" not in dsn.settings:
        raise BadInput(
            f"The role or the database sets another search_path, whose schema is {before}: name the one"
            " that has the registry in the URL, as in ?options=-csearch_path%3Dpublic"
        )


def _settings_sql(connection: Any, dsn: Dsn, *, local: bool) -> str:
    values = dsn.settings | _owned(connection.server_version, dsn)
    given = {"names": list(values), "values": list(values.values()), "local": local}
    with connection.cursor() as cursor:
        text: bytes = cursor.mogrify(_SET, given)
    return text.decode()


def _owned(version: int, dsn: Dsn) -> dict[str, str]:
    known = {name: value for name, value in OWNED.items() if version >= _SINCE.get(name, 0)}
    # Temporary tables last: behind a pooler somebody else's may still be there, with any name.
    path = dsn.search_path
    return known | {"search_path": path if "pg_temp" in path else f"{path}, pg_temp"}


def inherited_sql() -> tuple[str, tuple[list[str]]]:
    """The statement that finds what this session would have inherited, as rows of `Inherited`."""
    return _INHERITED, ([*OWNED, "search_path", "synchronous_commit"],)
