"""The parameters that every session sets, so that it inherits none from a role, a database or a server.

With a default of REPEATABLE READ the last look before an erase would read an old snapshot.  With another
`search_path` statements would read other tables.  https://www.postgresql.org/docs/current/config-setting.html
"""

from __future__ import annotations

from typing import Any, NamedTuple

import peewee
import psycopg2
from playhouse.pool import _PooledPostgresqlDatabase

from model.db.dsn import Dsn
from model.errors import BadInput

ISOLATION = "READ COMMITTED"

# If a process is frozen in a transaction, the server ends it after this time and releases its row locks.
IDLE_IN_TRANSACTION_MS = 60_000

# `default_transaction_read_only` is not set: an administrator makes a database read-only on purpose.
OWNED = {
    "default_transaction_isolation": ISOLATION.lower(),
    "default_transaction_deferrable": "off",
    # A row security policy could hide references.  With `off` such a statement fails instead.
    "row_security": "off",
    # These bound every wait: for a lock, for one statement, for a client that is frozen or gone.
    "lock_timeout": "10s",
    "statement_timeout": "120s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_MS}ms",
    "client_connection_check_interval": "10s",
    # 0: no limit.  Idle connections of the pool stay open; the limits above bound long transactions.
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    # Every statement of a collection uses one index probe for each id, even if the statistics are old or
    # missing.  See `connection.whole_tables`.
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
# The first server version that has the parameter.
_SINCE = {
    "client_connection_check_interval": 140_000,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}

# `off` is not inherited: with it a crash could lose the commit of a fence whose request was sent.  Values
# that wait for standbys are kept.
_SET = """
SELECT current_schema()::text
UNION ALL
SELECT set_config(s.name, s.value, %(local)s)
FROM unnest(%(names)s::text[], %(values)s::text[]) AS s (name, value)
UNION ALL
SELECT set_config('synchronous_commit', 'on', %(local)s) WHERE current_setting('synchronous_commit') = 'off'
UNION ALL
SELECT current_setting('session_replication_role')
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

# These detect a dead host within a minute; the kernel's defaults take hours.
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
        """Begin a transaction with an explicit isolation level, so that a default does not matter."""
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
        """Return a new connection of the driver in autocommit mode, outside the pool."""
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
    """A pool of connections that set `OWNED`.

    With `pooled`, a pooler gives each transaction another session of the server: the parameters are
    set at the beginning of each transaction and end with it, and every statement is in one.
    """

    def __init__(self, dsn: Dsn, *, pooled: bool, **options: Any) -> None:
        self.dsn = dsn
        self.pooled = pooled
        parameters: dict[str, Any] = _NETWORK | dsn.parameters | options
        super().__init__(dsn.database, **parameters)


def _set_parameters(connection: Any, dsn: Dsn, *, local: bool) -> None:
    """Set the parameters; if `local`, only test whether the server accepts them.  Raises `BadInput`."""
    with connection.cursor() as cursor:
        try:
            if local:
                cursor.execute("BEGIN")
            cursor.execute(_settings_sql(connection, dsn, local=local))
            ((before,), *_, (triggers,), (after,)) = cursor.fetchall()
            if local:
                cursor.execute("COMMIT")
        except (psycopg2.DataError, psycopg2.ProgrammingError) as error:
            text = str(error).splitlines()[0]
            raise BadInput(f"The options of the database's URL are refused: {text}") from error
    # With `replica` no foreign key stops a deletion, and no trigger records an ended tag.  Only a superuser
    # may set it back.
    if triggers == "replica":
        raise BadInput(
            "The role or the database sets session_replication_role to replica, so that no foreign key is"
            " checked: ALTER ROLE or ALTER DATABASE … RESET session_replication_role"
        )
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
    """Return the statement that reads what this session would have inherited, as rows of `Inherited`."""
    return _INHERITED, ([*OWNED, "search_path", "synchronous_commit"],)
