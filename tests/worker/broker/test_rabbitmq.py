"""RabbitMQ as broker: the same workers, whose messages survive the death of the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model import registry
from tests.support.patience import PATIENCE_S, eventually
from tests.support.servers.rabbitmq import RabbitMQ
from tests.support.servers.redises import Certificates
from tests.support.world import World
from tests.worker.broker.running import celery, worker
from tests.worker.broker.test_connections import LONG_S, collects, dredge, problems, tags, where
from worker.client import Client
from worker.health import find_outages
from worker.settings import Settings

__all__ = ["where"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RabbitMQ]:
    server = RabbitMQ(tmp_path_factory.mktemp("rabbit") / "node", certificates)
    server.start()
    yield server
    server.stop()


def test_a_node_that_is_killed_loses_nothing_but_time(
    rabbit: RabbitMQ, where: dict[str, str], world: World, valkey: str, tmp_path: Path
) -> None:
    told = {**where, "DREDGE_BROKER_URL": rabbit.url, "DREDGE_REDIS_URL": valkey}
    assert problems(told) == []
    with (
        worker(told, tmp_path) as working,
        celery(told, tmp_path, "beat") as beat,
        Client(rabbit.url, redis_url=valkey) as client,
    ):
        collects(world, "first", working, beat)
        working.stop()
        asked = client.delete_tag("now", "prompt", "second")
        rabbit.kill()
        assert find_outages(Settings(broker_url=rabbit.url, redis_url=valkey))[-1:] == [
            "the broker does not answer"
        ]
        registry.delete_tag("acme/app", "bystander")
        rabbit.start()
        with worker(told, tmp_path) as again:
            assert asked.get(timeout=LONG_S)["tag"] == "second"
            eventually(lambda: tags(world) == {"bystander"}, again, beat)
            eventually(lambda: events(world) == 0, again)
            assert again.stop() == 0


def events(world: World) -> int:
    found: int = world.value("SELECT count(*) FROM dredge_event WHERE published_ms IS NULL")
    return found


def test_check_verifies_the_certificate_of_a_node(
    rabbit: RabbitMQ, where: dict[str, str], valkey: str, certificates: Certificates
) -> None:
    url = f"amqps://guest:guest@127.0.0.1:{rabbit.tls_port}/"
    told = {**where, "DREDGE_BROKER_URL": url, "DREDGE_REDIS_URL": valkey}
    found = problems(told)
    assert len(found) == 1 and "certificate verify failed" in found[0]
    assert problems({**told, "DREDGE_BROKER_URL": f"{url}?ssl_ca_certs={certificates.ca}"}) == []


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("guest:wr0ng@127.0.0.1:{port}/", "correct user and password in DREDGE_BROKER_URL"),
        ("guest:guest@127.0.0.1:{port}/nosuch", "create the virtual host and grant it to the user"),
    ],
    ids=["password", "virtual host"],
)
def test_a_node_that_refuses_ends_every_command_and_process_with_one_line(
    rabbit: RabbitMQ, where: dict[str, str], valkey: str, tmp_path: Path, place: str, advice: str
) -> None:
    url = f"amqp://{place.format(port=rabbit.port)}"
    told = {**where, "DREDGE_BROKER_URL": url, "DREDGE_REDIS_URL": valkey}
    assert [each for each in problems(told) if advice in each]
    for arguments in (["enqueue", "now/prompt"], ["up", "--directory", str(tmp_path / "up")]):
        said = dredge(told, *arguments)
        assert (said.returncode, said.stdout, said.stderr.count("\n")) == (1, "", 1), said
        assert advice in said.stderr and "wr0ng" not in said.stderr
    for process in ("worker", "beat"):
        with celery(told, tmp_path, process) as running:
            assert running.process.wait(PATIENCE_S) == 1, running.log
            assert advice in running.log.splitlines()[-1] and "wr0ng" not in running.log
