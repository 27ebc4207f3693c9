"""Servers that refuse: each command and process ends with one line that says what is wrong and what to do."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import kombu.utils.functional
import psycopg2
import pytest
import redis.retry

from model.db.connection import db
from tests.support.servers.http import Handler, serving
from tests.support.servers.redises import Redis, Sentinel
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Said
from worker import wiring
from worker.broker import signals
from worker.local.embedded import EmbeddedServers

RIGHT, WRONG = "hunter2", "wr0ng"
ADVICE = "correct user and password in DREDGE_BROKER_URL"
Starts = Callable[..., Said]


class Guarded(Sentinel):
    """A Sentinel that wants a password of its own, and knows that of its master."""

    def command(self) -> list[str]:
        command, path = super().command(), self.directory / "sentinel.conf"
        if "requirepass" not in path.read_text():
            with path.open("a") as file:
                file.write(f"requirepass {RIGHT}\nsentinel auth-pass main {RIGHT}\n")
        return command


@dataclass(frozen=True)
class Redises:
    """A Redis with a password, a user `few` without rights to our keys, and a Sentinel."""

    master: Redis
    sentinel: Sentinel

    def url(self, form: str) -> str:
        """Return the URL with the ports of the servers."""
        return form.format(redis=self.master.port, sentinel=self.sentinel.port)


@pytest.fixture(scope="module")
def redises(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redises]:
    directory = tmp_path_factory.mktemp("redises")
    master = Redis(directory / "master", "--requirepass", RIGHT)
    master.start()
    sentinel = Guarded(directory / "sentinel")
    sentinel.master = master
    sentinel.start()
    with master.client(password=RIGHT) as client:
        client.execute_command("ACL SETUSER", "few", "on", f">{RIGHT}", "~other:*", "+@all")
    yield Redises(master, sentinel)
    sentinel.stop()
    master.stop()


@pytest.fixture
def starts(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Starts]:
    """`starts("worker", BROKER_URL=…)` runs what the process does before its first work."""
    monkeypatch.setenv("DREDGE_DATABASE_URL", world.url)
    monkeypatch.setenv("DREDGE_STORAGE", f"local_us={tmp_path}")
    configured = db.obj

    def run(process: str, **settings: str) -> Said:
        begin = {"worker": signals._starting, "beat": signals._require_broker}[process]
        wiring._built, code = None, 0
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(f"DREDGE_{name}", value)
            try:
                begin()
            except SystemExit as ended:
                code = int(str(ended.code))
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    yield run
    wiring._built = None
    db.initialize(configured)


def refused(said: Said, *words: str) -> None:
    """The process ended with one line, which has these words and no secret."""
    assert (said.code, said.out) == (1, ""), said
    assert said.err.startswith("dredge: ") and said.err.count("\n") == 1, said.err
    assert all(word in said.err for word in words), said.err
    for secret in (RIGHT, WRONG, "Traceback"):
        assert secret not in said.err


def found(said: Said, *words: str) -> None:
    """`dredge check` has a finding with these words, says nothing else, and shows no secret."""
    assert said.code == 1 and said.err == "", said
    assert any(all(word in line for word in words) for line in said.out.splitlines()), said.out
    for secret in (RIGHT, WRONG):
        assert secret not in said.out


BROKERS = {
    "password": (f"redis://:{WRONG}@127.0.0.1:{{redis}}/0", ADVICE),
    "no password": ("redis://127.0.0.1:{redis}/0", ADVICE),
    "user": (f"redis://nosuch:{WRONG}@127.0.0.1:{{redis}}/0", ADVICE),
    "rights": (f"redis://few:{RIGHT}@127.0.0.1:{{redis}}/0", "grant the user what deploy/redis.acl lists"),
    "database": (f"redis://:{RIGHT}@127.0.0.1:{{redis}}/99", "correct DREDGE_BROKER_URL"),
    "Sentinel's password": (
        f"redis+sentinel://:{RIGHT}@127.0.0.1:{{sentinel}}/main/0?sentinel_password={WRONG}",
        ADVICE,
    ),
    "password of the master": (
        f"redis+sentinel://:{WRONG}@127.0.0.1:{{sentinel}}/main/0?sentinel_password={RIGHT}",
        ADVICE,
    ),
}


# The others differ from these in nothing but the server's answer.
QUICK = {"password", "rights", "Sentinel's password"}


@pytest.mark.parametrize(
    ("form", "advice"),
    [
        pytest.param(*broker, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, broker in BROKERS.items()
    ],
)
def test_a_broker_that_refuses_ends_every_command_and_process(
    world: World, dredge: Dredge, starts: Starts, redises: Redises, tmp_path: Path, form: str, advice: str
) -> None:
    world.tag("old", ended_ms=1)
    url = redises.url(form)
    with world.changes() as changes:
        found(dredge("check", BROKER_URL=url), "broker", advice)
        refused(dredge("enqueue", "acme/app", BROKER_URL=url), "The broker refuses", advice)
        refused(dredge("enqueue", "acme/app", "--wait", "1", BROKER_URL=url), advice)
        refused(dredge("up", "--directory", str(tmp_path / "up"), BROKER_URL=url), advice)
        refused(starts("worker", BROKER_URL=url), "cannot be used", advice)
        refused(starts("beat", BROKER_URL=url), "cannot be used", advice)
    assert not changes and not (tmp_path / "up").exists()
    # The repository is due as a row before its message is sent: the next scan sends it.
    refused(dredge("enqueue", "--all", BROKER_URL=url), "The broker refuses", advice)
    assert world.value("SELECT count(*) FROM dredge_due WHERE repository_id = %s", (world.repository_id,))


def test_a_watcher_of_events_ends_where_the_broker_refuses(dredge: Dredge, redises: Redises) -> None:
    said = dredge("events", "tail", BROKER_URL=redises.url(BROKERS["password"][0]))
    assert said.code == 1 and ADVICE in said.err.splitlines()[-1] and WRONG not in said.err


def test_processes_start_at_once_where_nobody_refuses_and_where_nobody_answers(
    starts: Starts, redises: Redises, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    for library in (kombu.utils.functional, redis.retry):
        monkeypatch.setattr(library, "sleep", waits.append)
    right = redises.url(f"redis://:{RIGHT}@127.0.0.1:{{redis}}/0")
    for url in (right, "redis://127.0.0.1:1/0", "redis+sentinel://127.0.0.1:1/main/0"):
        for process in ("worker", "beat"):
            assert starts(process, BROKER_URL=url) == Said(0, "", "")
    assert waits == []


@pytest.fixture
def locked(servers: EmbeddedServers, world: World) -> Iterator[str]:
    """The world's URL with a wrong password of a role that needs one."""
    assert servers.postgres is not None
    rules = servers.postgres.directory / "pg_hba.conf"
    before = rules.read_text()
    world.execute(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{RIGHT}'")
    rules.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{before}")
    world.rows("SELECT pg_reload_conf()")
    yield world.url.replace("//dredge@", f"//locked:{WRONG}@")
    rules.write_text(before)
    world.rows("SELECT pg_reload_conf()")
    world.execute("DROP ROLE locked")


@pytest.mark.parametrize("wrong", ["password", "role", "database"])
def test_a_database_that_refuses_ends_every_command_and_a_worker(
    world: World, dredge: Dredge, starts: Starts, locked: str, valkey: str, wrong: str
) -> None:
    world.tag("old", ended_ms=1)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(locked)
    url = {
        "password": locked,
        "role": world.url.replace("//dredge@", f"//nosuch:{WRONG}@"),
        "database": world.url + "_nosuch",
    }[wrong]
    told = {"DATABASE_URL": url, "BROKER_URL": valkey}
    advice = "correct DREDGE_DATABASE_URL"
    with world.unchanged():
        found(dredge("check", **told), "database", advice)
        for command in (
            ["collect", "--all"],
            ["sweep"],
            ["status"],
            ["enqueue", "--all"],
            ["enqueue", "acme/app"],
            ["up"],
        ):
            refused(dredge(*command, **told), "The database refuses", advice)
        refused(starts("worker", **told), "The database refuses", advice)


class Welcome(Handler):
    """Any other HTTP server: it answers every request with a page."""

    def welcome(self) -> None:
        self.answer(200, b"<html><body>It works!</body></html>")


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(Welcome, f"do_{_method}", Welcome.welcome)


@pytest.fixture
def checking(s3_endpoint: str) -> Iterator[str]:
    """The S3 server, while it refuses keys that it does not know."""

    def after(requests: str) -> None:
        request = urllib.request.Request(
            f"{s3_endpoint}/moto-api/reset-auth",
            data=requests.encode(),
            method="POST",
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request).close()

    after("0")
    yield s3_endpoint
    after("inf")


def collects_no_object(world: World, dredge: Dredge, storage: str, *words: str) -> None:
    """A collection of rows is done; its object waits, and every command of objects fails with one line."""
    dead = world.blob()
    world.tag("old", manifest=world.manifest(blobs=[dead]), ended_ms=1)
    told = {"STORAGE": f"local_us={storage}"}
    said = dredge("collect", "--all", **told)
    last = said.err.splitlines()[-1]
    assert said.code == 1 and last.startswith("dredge: objects at local_us wait, which is suspended: "), said
    assert all(word in last for word in words) and WRONG not in said.err
    found(dredge("check", **told), "storage", *words)
    swept = dredge("sweep", **told)
    assert swept.code == 1 and all(word in swept.err for word in words), swept
    assert world.value("SELECT count(*) FROM dredge_tombstone") == 1


def test_keys_that_a_store_refuses_end_a_worker_and_up_and_no_object_is_erased(
    world: World,
    dredge: Dredge,
    starts: Starts,
    checking: str,
    valkey: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nosuch")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
    bucket = f"s3://registry/x?endpoint={checking}&region=us-east-1&timeout=30"
    words = ("403 InvalidAccessKeyId", "check the credentials")
    collects_no_object(world, dredge, bucket, *words)
    told = {"STORAGE": f"local_us={bucket}", "BROKER_URL": valkey}
    refused(starts("worker", **told), *words)
    refused(dredge("up", "--directory", str(tmp_path / "up"), **told), *words)
    # A second location that works has work for a worker.
    assert starts("worker", STORAGE=f"local_us={bucket},eu={tmp_path}", BROKER_URL=valkey).code == 0


def test_a_bucket_that_is_not_there_ends_a_worker_and_no_object_is_erased(
    world: World, dredge: Dredge, starts: Starts, bucket_url: str, s3_endpoint: str, valkey: str
) -> None:
    bucket = f"s3://no-such-bucket/x?endpoint={s3_endpoint}&region=us-east-1"
    words = ("404 NoSuchBucket", "create the bucket, or correct the endpoint")
    collects_no_object(world, dredge, bucket, *words)
    refused(starts("worker", STORAGE=f"local_us={bucket}", BROKER_URL=valkey), *words)


def test_a_store_that_cannot_be_reached_keeps_its_objects_and_a_worker_waits_for_it(
    world: World, dredge: Dredge, starts: Starts, bucket_url: str, valkey: str
) -> None:
    bucket = "s3://registry/x?endpoint=http://127.0.0.1:1&region=us-east-1"
    collects_no_object(world, dredge, bucket, "cannot be reached (127.0.0.1:1): start it, or correct")
    assert starts("worker", STORAGE=f"local_us={bucket}", BROKER_URL=valkey) == Said(0, "", "")


def test_another_http_server_is_taken_for_no_store_and_nothing_counts_as_erased(
    world: World, dredge: Dredge, bucket_url: str
) -> None:
    """It answers 200 to each request, so also to those for an identity, for objects and for deletes."""
    with serving(Welcome) as port:
        bucket = f"s3://registry/x?endpoint=http://127.0.0.1:{port}&region=us-east-1"
        collects_no_object(world, dredge, bucket, "is the endpoint that of an object store?")
    assert world.value("SELECT identity FROM dredge_storage") is None
