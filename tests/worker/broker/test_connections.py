"""A worker, a beat, a client and the commands on servers as operators run them: TLS, ACL, Sentinels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from model import registry
from tests.support.patience import eventually
from tests.support.servers.redises import Certificates, Redis, Sentinel
from tests.support.world import World
from tests.worker.broker.running import ROOT, Process, celery, worker
from worker.client import Client

pytestmark = pytest.mark.slow

LONG_S = 90
CLI = [sys.executable, "-c", "from worker.cli import main; main()"]


def dredge(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONG_S
    )


def checked(environment: dict[str, str]) -> list[dict[str, Any]]:
    said = dredge(environment, "check", "--json")
    return [json.loads(line) for line in said.stdout.splitlines()]


def problems(environment: dict[str, str]) -> list[str]:
    return [finding["problem"] for finding in checked(environment) if finding["problem"]]


@pytest.fixture
def where(world: World, tmp_path: Path) -> dict[str, str]:
    """A worker's variables without a broker: of a registry with one deleted tag and one bystander."""
    prompt = world.repository("prompt", namespace=world.namespace("now", window_s=0))
    world.tag("bystander")
    for name in ("first", "second"):
        world.tag(name, repository=prompt)
    (tmp_path / "storage").mkdir()
    return {
        "PATH": "/usr/bin:/bin",
        "DREDGE_DATABASE_URL": world.url,
        "DREDGE_STORAGE": f"local_us={tmp_path / 'storage'}",
        "DREDGE_SCAN_INTERVAL_S": "0.5",
        "DREDGE_QUARANTINE_S": "0",
    }


def tags(world: World) -> set[str]:
    return {name for (name,) in world.rows("SELECT name FROM tag")}


def collects(world: World, name: str, *running: Process) -> None:
    """Delete a tag; what it leaves is collected by whoever runs."""
    registry.delete_tag("now/prompt", name)
    eventually(lambda: name not in tags(world), *running)


def serves(told: dict[str, str], url: str, world: World, directory: Path) -> str:
    """A client, a worker, a beat and a command do their work on this broker; the log of all."""
    with worker(told, directory) as working, celery(told, directory, "beat") as beat, Client(url) as client:
        assert client.delete_tag("now", "prompt", "first").get(timeout=LONG_S)["tag"] == "first"
        collects(world, "second", working, beat)
        eventually(lambda: tags(world) == {"bystander"}, working, beat)
        assert dredge(told, "enqueue", "now/prompt", "--wait", str(LONG_S)).returncode == 0
        beat.wait_for("Sending due task")
        assert working.stop() == 0
        assert beat.stop() == 0
        return working.log + beat.log


@pytest.fixture
def over_tls(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(
        tmp_path / "tls",
        *("--requirepass", "p@ss/w0rd"),
        program="redis-server",
        certificates=Certificates(tmp_path / "certificates"),
    )
    server.start()
    yield server
    server.stop()


def test_everything_runs_over_tls_and_verifies_the_certificate(
    over_tls: Redis, where: dict[str, str], world: World, tmp_path: Path
) -> None:
    url = over_tls.url(userinfo=":p%40ss%2Fw0rd@")
    told = {**where, "DREDGE_BROKER_URL": url, "DREDGE_CACHE_URL": url.replace("/0?", "/1?")}
    assert problems(told) == []
    log = serves(told, url, world, tmp_path)
    assert "p@ss" not in log and "p%40ss" not in log
    unknown = {name: value.partition("?")[0] for name, value in told.items()}
    found = problems(unknown)
    assert found and all("certificate verify failed" in each for each in found), found
    trusting = {name: value + "?ssl_cert_reqs=none" for name, value in unknown.items() if "URL" in name}
    trusting["DREDGE_DATABASE_URL"] = world.url
    assert problems({**where, **trusting}) == []


@pytest.fixture(params=["valkey", "redis-server"])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Redis, Redis, Sentinel]]:
    """A master, its replica and a Sentinel."""
    program = request.param
    with ExitStack() as stack:
        master = Redis(tmp_path / "master", program=program)
        replica = Redis(tmp_path / "replica", program=program)
        sentinel = Sentinel(tmp_path / "sentinel", program=program)
        sentinel.master = master
        for server in (master, replica, sentinel):
            stack.callback(server.stop)
            server.start()
            if server is master:
                master.client().config_set("repl-diskless-sync-delay", 0)
            if server is replica:
                replica.client().replicaof("127.0.0.1", str(master.port))
                eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
        asked: Any = sentinel.client()
        eventually(lambda: asked.sentinel_masters()["main"]["num-slaves"] == 1)
        yield master, replica, sentinel


def test_broker_beat_and_cache_follow_their_sentinels_to_the_new_master(
    watched: tuple[Redis, Redis, Sentinel], where: dict[str, str], world: World, tmp_path: Path
) -> None:
    master, replica, sentinel = watched
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0"
    told = {**where, "DREDGE_BROKER_URL": url, "DREDGE_CACHE_URL": url[:-1] + "1"}
    assert problems(told) == []
    with worker(told, tmp_path) as working, celery(told, tmp_path, "beat") as beat, Client(url) as client:
        collects(world, "first", working, beat)
        master.kill()
        eventually(lambda: replica.client().info("replication")["role"] == "master", working)
        assert client.delete_tag("now", "prompt", "second").get(timeout=LONG_S)["tag"] == "second"
        eventually(lambda: tags(world) == {"bystander"}, working, beat)
        seen = beat.log.count("Sending due task")
        eventually(lambda: beat.log.count("Sending due task") > seen + 2, beat)
        assert working.stop() == 0
    assert problems(told) == []


ACL = next(line for line in (ROOT / "deploy" / "redis.acl").read_text().splitlines() if line[:5] == "user ")


def operate(server: Redis, *command: str) -> Any:
    client: Any = server.client()
    return client.execute_command(*command)


@pytest.fixture(params=["valkey", "redis-server"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Redis]:
    """A server whose only user beside the operator is that of `deploy/redis.acl`."""
    server = Redis(tmp_path / "guarded", program=request.param)
    server.start()
    _, user, *rules = ACL.split()
    operate(server, "ACL SETUSER", user, "reset", *rules)
    yield server
    server.stop()


def test_the_least_acl_is_enough_and_check_says_what_is_missing(
    guarded: Redis, where: dict[str, str], world: World, tmp_path: Path
) -> None:
    url = guarded.url(userinfo="dredge:change-me@")
    told = {**where, "DREDGE_BROKER_URL": url, "DREDGE_CACHE_PREFIX": "dredge:cache:"}
    assert problems(told) == []
    serves(told, url, world, tmp_path)
    # The client library says who it is where it may, and needs no right to.
    denied = [each["object"] for each in operate(guarded, "ACL LOG") if each["object"] != "client|setinfo"]
    assert denied == []
    operate(guarded, "ACL SETUSER", "dredge", "-hset", "resetchannels")
    found = problems(told)
    assert {each.split(": ")[1].split()[0] for each in found} >= {"queues", "results", "schedule"}
    assert all("grant the user what deploy/redis.acl lists" in each for each in found), found
