"""Real servers from wheels: as root and as nobody, started, hurt, stopped, and nothing left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import psycopg2
import pytest
import redis

from tests.support.patience import PATIENCE_S, eventually
from worker.local.embedded import EmbeddedFailure, EmbeddedServers, Postgres, Valkey
from worker.local.servers import postgres as postgres_module
from worker.local.servers import valkey as valkey_module

DREDGE = str(Path(sys.executable).parent / "dredge")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Servers that a test may hurt."""
    with EmbeddedServers(tmp_path / "own") as servers:
        yield servers


def _value(url: str, statement: str = "SELECT 1") -> object:
    connection = psycopg2.connect(url, connect_timeout=2)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            found = cursor.fetchone()
            return found and found[0]
    finally:
        connection.close()


def _alive(pid: int) -> bool:
    """A process that runs; one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _all_gone(*pids: int) -> bool:
    return not any(map(_alive, pids))


def test_both_answer_and_the_environment_names_them(own: EmbeddedServers) -> None:
    environment = own.environment()
    assert _value(environment["DREDGE_DATABASE_URL"], "SELECT current_database()") == "dredge"
    assert redis.Redis.from_url(environment["DREDGE_BROKER_URL"]).ping()
    assert environment["DREDGE_CACHE_URL"] != environment["DREDGE_BROKER_URL"]
    assert (own.directory / "storage").is_dir()
    assert environment["DREDGE_STORAGE"] == f"local_us=file://{own.directory}/storage"


def test_nothing_listens_beyond_this_machine(own: EmbeddedServers) -> None:
    assert own.postgres and own.valkey
    assert _value(own.database_url, "SHOW listen_addresses") == "127.0.0.1"
    for port in (own.postgres.port, own.valkey.port):
        address = socket.gethostbyname(socket.gethostname())
        if address != "127.0.0.1":
            with pytest.raises(OSError):
                socket.create_connection((address, port), timeout=1)


def test_nothing_is_left_after_a_stop() -> None:
    servers = EmbeddedServers()
    with servers:
        assert servers.postgres and servers.valkey
        pids = [servers.postgres.pid, servers.valkey.pid]
        assert all(pid and _alive(pid) for pid in pids)
    assert not servers.directory.exists()
    assert not any(pid and _alive(pid) for pid in pids)
    servers.stop()


def test_data_and_port_survive_a_restart_and_a_crash(own: EmbeddedServers) -> None:
    url = own.database_url
    assert own.postgres
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 7 AS n")
    own.postgres.restart()
    assert _value(url, "SELECT n FROM kept") == 7
    own.postgres.kill()
    assert own.postgres.pid is None
    with pytest.raises(psycopg2.OperationalError):
        _value(url)
    own.postgres.start()
    assert _value(url, "SELECT n FROM kept") == 7


def test_a_server_waits_for_what_is_left_of_the_one_that_was_killed(own: EmbeddedServers) -> None:
    url = own.database_url
    assert own.postgres and own.postgres.pid
    session = psycopg2.connect(url)
    survivor = session.info.backend_pid
    os.kill(survivor, signal.SIGSTOP)
    os.kill(own.postgres.pid, signal.SIGKILL)
    eventually(lambda: own.postgres is not None and own.postgres.pid is None)
    own.postgres.stop()
    leave = Timer(1, os.kill, (survivor, signal.SIGKILL))
    leave.start()
    own.postgres.start()
    assert leave.finished.is_set(), "it started beside it"
    assert _value(url) == 1
    session.close()


def test_a_frozen_server_answers_nobody_until_it_thaws(own: EmbeddedServers) -> None:
    assert own.valkey
    client = redis.Redis.from_url(own.broker_url, socket_timeout=0.3, retry=None)
    client.set("key", "value")
    own.valkey.freeze()
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    own.valkey.thaw()
    assert client.get("key") == b"value"


def test_what_is_durable_outlives_its_servers(tmp_path: Path) -> None:
    for expected in (None, b"value"):
        with EmbeddedServers(tmp_path / "kept", postgres=False, durable=True) as servers:
            client = redis.Redis.from_url(servers.broker_url)
            assert client.get("key") == expected
            client.set("key", "value")
            client.close()


def test_statistics_of_statements_are_loaded(own: EmbeddedServers) -> None:
    assert _value(own.database_url, "SHOW shared_preload_libraries") == "pg_stat_statements"


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Valkey(tmp_path / "valkey", port=taken.getsockname()[1])
        with pytest.raises(EmbeddedFailure, match="Address already in use"):
            server.start()
        assert server.pid is None


def test_a_missing_wheel_and_no_system_server_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(postgres_module, "_USUAL_PLACES", ())
    postgres_module.postgres_binaries.cache_clear()
    with pytest.raises(EmbeddedFailure, match=r"quay-dredge.local.*install postgresql"):
        postgres_module.postgres_binaries()
    with pytest.raises(EmbeddedFailure, match=r"quay-dredge.local.*install redis-server"):
        valkey_module.valkey_binary()
    postgres_module.postgres_binaries.cache_clear()


def test_the_systems_postgresql_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("this system has no PostgreSQL of its own")
    monkeypatch.setattr(postgres_module, "postgres_binaries", lambda: binaries[-1])
    server = Postgres(tmp_path / "postgres")
    server.start()
    try:
        assert _value(server.url, "SHOW server_version_num")
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_without_user_namespaces_becomes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_module, "_user_namespaces", lambda: False)
    for needed in (Path(sys.prefix).resolve(), Path(tempfile.gettempdir()).resolve()):
        if not all(place.stat().st_mode & 0o001 for place in (needed, *needed.parents)):
            pytest.skip(f"nobody cannot reach {needed}")
    with EmbeddedServers(valkey=False) as servers:
        assert _value(servers.database_url) == 1
        assert servers.postgres and servers.postgres.pid
        assert Path(f"/proc/{servers.postgres.pid}").stat().st_uid == 65534
    assert not servers.directory.exists()


def _as_a_normal_user() -> dict[str, Any]:
    """Arguments of `Popen`; inside a user namespace where nobody may not reach this Python."""
    interpreter = Path(sys.executable).resolve()
    if all(parent.stat().st_mode & 0o001 for parent in interpreter.parents):
        return {"args": [], "user": 65534, "group": 65534, "extra_groups": []}
    return {"args": ["unshare", "-U", "--map-user=65534", "--map-group=65534", "--"]}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_normal_user_with_an_empty_home() -> None:
    home = Path(tempfile.mkdtemp())
    home.chmod(0o777)
    environment = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.environ["PATH"]}
    user = _as_a_normal_user()
    story = [DREDGE, "embedded", "--", "sh", "-c", "id -u && dredge init && dredge check"]
    result = subprocess.run(
        [*user.pop("args"), *story], env=environment, capture_output=True, text=True, cwd="/", **user
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("65534")
    assert list(home.iterdir()) == []
    home.rmdir()


@pytest.mark.slow
def test_kill_9_of_the_parent_leaves_no_orphan_and_no_file() -> None:
    story = """
        import time
        from worker.local.embedded import EmbeddedServers
        with EmbeddedServers() as servers:
            print(servers.directory, servers.postgres.pid, servers.valkey.pid, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(story)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    directory, *pids = parent.stdout.readline().split()
    assert all(_alive(int(pid)) for pid in pids)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    eventually(lambda: not any(_alive(int(pid)) for pid in pids))
    eventually(lambda: not Path(directory).exists())


@pytest.mark.slow
def test_the_command_embedded_passes_on_signals_and_exit_codes(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([DREDGE, "embedded", "--", "sh", "-c", "exit 7"], env=environment)
    assert done.returncode == 7
    missing = subprocess.run(
        [DREDGE, "embedded", "--", "/no/such/command"], env=environment, capture_output=True, text=True
    )
    assert missing.returncode == 1
    assert "No such file" in missing.stderr
    script = "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    running = subprocess.Popen(
        [DREDGE, "embedded", "--", "sh", "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    running.terminate()
    assert running.communicate(timeout=PATIENCE_S)[0] == "asked\n"
    assert running.returncode == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_up_runs_a_procfile_and_a_killed_up_leaves_nothing(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("ticker: exec sh -c 'while :; do echo at $$ $DREDGE_DATABASE_URL; sleep 0.2; done'\n")
    command = [DREDGE, "up", "--directory", str(tmp_path / "data"), "--procfile", str(procfile)]
    for stop in (signal.SIGTERM, signal.SIGKILL):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert running.stdout
        line = next(text for text in running.stdout if "| at " in text).split("| at ")[1]
        assert f"export DREDGE_DATABASE_URL={line.split()[1]}" in (tmp_path / "data/environment").read_text()
        ticker = int(line.split()[0])
        server = int((tmp_path / "data/postgres/postmaster.pid").read_text().splitlines()[0])
        assert _alive(ticker)
        assert _alive(server)
        running.send_signal(stop)
        running.communicate(timeout=PATIENCE_S)
        assert running.returncode == (0 if stop == signal.SIGTERM else -signal.SIGKILL)
        eventually(partial(_all_gone, ticker, server))


@pytest.mark.slow
def test_up_ends_when_nobody_reads_it_any_more(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("ticker: exec sh -c 'while :; do echo at $$; sleep 0.2; done'\n")
    command = [DREDGE, "up", "--directory", str(tmp_path / "data"), "--procfile", str(procfile)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert running.stdout
    ticker = int(next(text for text in running.stdout if "| at " in text).split("| at ")[1])
    running.stdout.close()
    assert running.wait(timeout=PATIENCE_S) == 141
    eventually(lambda: not _alive(ticker))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_that_cannot_become_nobody_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "_user_namespaces", lambda: False)
    (tmp_path / "locked").mkdir(mode=0o700)
    with pytest.raises(EmbeddedFailure, match="no user namespace is allowed"):
        EmbeddedServers(tmp_path / "locked/own", valkey=False).start()
