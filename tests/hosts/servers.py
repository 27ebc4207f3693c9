"""PostgreSQL and Valkey on hosts of their own; the test reaches them by sockets, past the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg2
import redis

from tests.hosts.network import SUBNET, Host
from tests.support.servers.standby import PROMOTE, RELOAD, SYNCHRONOUS, ask, copy_database
from worker.local.servers.postgres import DATABASE, Postgres, _create_database
from worker.local.servers.valkey import Valkey

PORT, BROKER_PORT = 5432, 6379


class HostPostgres(Postgres):
    """A PostgreSQL that listens on its host's address, and on a socket beside its directory."""

    def __init__(self, host: Host, directory: Path, doomed: Path) -> None:
        super().__init__(directory, port=PORT, durable=True, doomed=doomed)
        self.host = host
        self.socket = directory.with_suffix(".socket")
        self.socket.mkdir()

    def prepare(self) -> None:
        super().prepare()
        rules = self.directory / "pg_hba.conf"
        if SUBNET not in rules.read_text():
            with rules.open("a") as more:
                more.write(f"host all,replication all {SUBNET}.0/24 trust\n")
        os.chown(self.socket, self.directory.stat().st_uid, -1)

    def command(self) -> list[str]:
        return [*self.host.exec, *super().command(), "-h", "*", "-k", str(self.socket)]

    def answers(self) -> bool:
        where: dict[str, Any] = {"host": str(self.socket), "port": PORT, "user": "dredge"}
        try:
            psycopg2.connect(dbname=DATABASE, **where).close()
        except psycopg2.OperationalError as error:
            if f'database "{DATABASE}" does not exist' not in str(error):
                return False
            _create_database(where)
        return True

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Run one statement of an administrator."""
        return ask(sql, host=str(self.socket), port=PORT, user="dredge", dbname=DATABASE)


class Standby(HostPostgres):
    """A copy that follows its primary; after `promote` it is one."""

    def follow(self, primary: HostPostgres) -> None:
        """Copy the primary and start; from then on the primary answers no commit that is not here."""
        source = f"host={primary.host.address} port={PORT} user=dredge"
        copy_database(self, source, through=self.host.exec)
        self.start()
        primary.ask(SYNCHRONOUS)
        primary.ask(RELOAD)

    def command(self) -> list[str]:
        # Nobody follows it: it must not wait for one.
        return [*super().command(), "-c", "synchronous_standby_names="]

    def promote(self) -> None:
        """Make it the primary."""
        self.ask(PROMOTE)


class HostValkey(Valkey):
    """A Valkey that listens on its host's address, and on a socket."""

    def __init__(self, host: Host, directory: Path, doomed: Path) -> None:
        super().__init__(directory, port=BROKER_PORT, durable=True, doomed=doomed)
        self.host = host
        self.socket = directory.with_suffix(".socket")

    def command(self) -> list[str]:
        more = ["--bind", "*", "--protected-mode", "no", "--unixsocket", str(self.socket)]
        return [*self.host.exec, *super().command(), *more]

    def client(self) -> redis.Redis:
        """A client that no network is between."""
        return redis.Redis(unix_socket_path=str(self.socket))

    def answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False
