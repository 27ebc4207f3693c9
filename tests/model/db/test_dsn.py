"""URLs of PostgreSQL, as libpq reads them and as people write them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from model.db import connection as database
from model.db.connection import fetch_one
from model.db.dsn import parse
from model.errors import BadInput
from tests.support.databases import Databases
from worker.local.embedded import EmbeddedServers

DREDGE = str(Path(sys.executable).parent / "dredge")


def test_every_part_is_decoded() -> None:
    read = parse("postgresql://q%40uay:p%2Fss%3Aword@h%C3%B6st:5433/my%20db?sslmode=verify-full")
    assert read.database == "my db"
    assert read.parameters == {
        "user": "q@uay",
        "password": "p/ss:word",
        "host": "höst",
        "port": "5433",
        "sslmode": "verify-full",
    }
    assert "p/ss" not in repr(read)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("-csearch_path%3Dquay", {"search_path": "quay"}),
        ("-c%20search_path%3Dquay%20-c%20work_mem%3D8MB", {"search_path": "quay", "work_mem": "8MB"}),
        ("--search-path%3Da%5C%20b", {"search_path": "a b"}),
        ("-csearch_path%3D%22Quay%5C%20%5C%5C%22", {"search_path": '"Quay \\"'}),
    ],
)
def test_options_are_split_as_the_server_splits_them(options: str, settings: dict[str, str]) -> None:
    assert parse(f"postgresql://host/quay?options={options}").settings == settings


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://one,two:5433/quay", "one,two:5433"),
        ("postgresql://one:1,two:2/quay", "one:1,two:2"),
        ("postgresql:///quay?host=/run/postgresql", "/run/postgresql"),
        ("postgresql://u:p@[::1]:5432/quay", "::1:5432"),
    ],
)
def test_a_place_names_hosts_and_no_secret(url: str, place: str) -> None:
    assert parse(url).place == place


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://quay:hunter2@host",
        "postgresql://quay:hunter2@host/",
        "postgresql://quay:hunter2/2@host/quay",
        "postgresql://quay:hunter2@host/quay?colour=red",
        "postgresql://quay:hunter2@host/quay?options=-x",
        "mysql://quay:hunter2@host/quay",
    ],
)
def test_a_wrong_url_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)
    environment = {"PATH": os.defpath, "DREDGE_DATABASE_URL": url}
    result = subprocess.run([DREDGE, "status"], capture_output=True, text=True, env=environment, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "DREDGE_DATABASE_URL" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.stderr


def test_odd_names_connect(databases: Databases, servers: EmbeddedServers) -> None:
    assert servers.postgres is not None
    admin = psycopg2.connect(f"{databases.server}/postgres")
    admin.autocommit = True
    cursor = admin.cursor()
    cursor.execute("CREATE ROLE \"o'dd us:er\" LOGIN PASSWORD 'p@/ss'")
    cursor.execute('CREATE DATABASE "my/d b"')
    try:
        database.configure(
            f"postgresql://o%27dd%20us%3Aer:p%40%2Fss@127.0.0.1:{servers.postgres.port}/my%2Fd%20b"
        )
        row = fetch_one("SELECT current_user AS role, current_database() AS name")
        database.db.close_all()
    finally:
        cursor.execute('DROP DATABASE "my/d b" WITH (FORCE)')
        cursor.execute('DROP ROLE "o\'dd us:er"')
        admin.close()
    assert (row.role, row.name) == ("o'dd us:er", "my/d b")


def test_of_several_hosts_one_must_take_writes_unless_the_url_says_otherwise() -> None:
    wanted = "target_session_attrs"
    assert parse("postgresql://one,two/quay").parameters[wanted] == "read-write"
    assert parse(f"postgresql://one,two/quay?{wanted}=any").parameters[wanted] == "any"
    assert wanted not in parse("postgresql://one/quay").parameters


def test_of_several_hosts_the_one_that_takes_writes_is_used(servers: EmbeddedServers) -> None:
    assert servers.postgres is not None
    database.configure(f"postgresql://dredge@127.0.0.1:1,127.0.0.1:{servers.postgres.port}/dredge")
    assert fetch_one("SELECT current_user AS role").role == "dredge"
    database.db.close_all()
