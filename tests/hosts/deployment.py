"""A system of hosts: broker, database and its standby, two workers, a beat, and clients beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from model import namespace, registry, repository
from model.db import connection as database
from model.db.connection import connection, fetch_one
from model.errors import DatabaseUnavailable
from model.storage_paths import object_path
from tests.hosts.network import Network
from tests.hosts.servers import BROKER_PORT, PORT, HostPostgres, HostValkey, Standby
from tests.soak.__main__ import CHOICES, REPOSITORIES, WINDOWS_S
from tests.soak.images import Image, Pusher, image
from tests.soak.processes import ROOT, Workers
from tests.support.databases import memory
from worker.cli.embedded import command_environment
from worker.settings import Settings
from worker.storage.open import open_stores

HOSTS = ("broker", "database", "standby", "worker1", "worker2", "beat")
# Gentler than a soak's: two processes must keep up with what their clients do.
RATES = {"DREDGE_SCAN_INTERVAL_S": "2", "DREDGE_SWEEP_INTERVAL_S": "15", "DREDGE_PUSH_TTL_S": "10"}
LINES = {
    "worker1": "celery --quiet -A worker worker --concurrency=1 -n one@%h --loglevel=info",
    "worker2": "celery --quiet -A worker worker --concurrency=1 -n two@%h --loglevel=info",
    "beat": "celery --quiet -A worker beat --loglevel=info",
}


@dataclass
class Deployment:
    """The hosts, what runs on them, and how the test reaches them."""

    network: Network
    primary: HostPostgres
    standby: Standby | None
    broker: HostValkey
    directory: Path
    clients: Mapping[str, str]
    settings: Settings
    workers: Workers
    repositories: list[int]
    probes: int
    outages: list[tuple[float, float]] = field(default_factory=list)
    probed: int = 0

    def goes_on_s(self, patience_s: float) -> float | None:
        """Push an image and delete it; seconds until its rows and bytes are gone, None where they stay."""
        stores = open_stores(self.settings.storage, upload=self.settings.upload_location)
        self.probed += 1
        made = image([1_000 + self.probed], name=f"probe {self.probed}")
        Pusher(stores, self.settings.policy).push(self.probes, made, "probe")
        registry.delete_tag(self.probes, "probe", policy=self.settings.policy)
        began = time.monotonic()
        while time.monotonic() < began + patience_s:
            bytes_left = any(path.exists() for path in self.find_objects(made))
            if not bytes_left and not self._is_there(made.digest):
                return time.monotonic() - began
            time.sleep(0.1)
        return None

    def find_objects(self, made: Image) -> list[Path]:
        """Where the objects of an image lie while they are there."""
        return [self.directory / "objects" / object_path(digest, True, "") for digest in made.blobs]

    def _is_there(self, digest: str) -> bool:
        try:
            with connection():
                found = fetch_one("SELECT count(*) AS n FROM manifest WHERE digest = %s", (digest,))
            return bool(found.n)
        except DatabaseUnavailable:
            return True


def lines_of(network: Network, tree: Path) -> dict[str, str]:
    """The command lines of workers and beat, each on its host, with the code of `tree`."""
    return {
        name: f"cd {tree} && PYTHONPATH={tree} exec {' '.join(network.hosts[name].exec)} {line}"
        for name, line in LINES.items()
    }


@contextmanager
def deployment(*, standby: bool, tree: Path = ROOT) -> Iterator[Deployment]:
    """Start every host, its processes with the code of `tree`, whose tables the database has."""
    with (
        tempfile.TemporaryDirectory(prefix="dredge-hosts-", dir=memory()) as name,
        Network(HOSTS if standby else [host for host in HOSTS if host != "standby"]) as network,
    ):
        directory = Path(name)
        directory.chmod(0o755)
        hosts = network.hosts
        primary = HostPostgres(hosts["database"], directory / "primary", directory)
        broker = HostValkey(hosts["broker"], directory / "broker", directory)
        follower = Standby(hosts["standby"], directory / "follower", directory) if standby else None
        servers = [primary, broker, *filter(None, [follower])]
        try:
            primary.start()
            broker.start()
            if follower is not None:
                follower.follow(primary)
            yield from _staged(network, primary, follower, broker, directory, tree)
        finally:
            database.db.close_all()
            for server in reversed(servers):
                server.stop()


def _staged(
    network: Network,
    primary: HostPostgres,
    standby: Standby | None,
    broker: HostValkey,
    directory: Path,
    tree: Path,
) -> Iterator[Deployment]:
    databases = [primary, *filter(None, [standby])]
    (directory / "objects").mkdir()
    shared = {**CHOICES, **RATES, "DREDGE_STORAGE": f"local_us=file://{directory}/objects?fsync=off"}
    there = {
        "DREDGE_DATABASE_URL": _url([server.host.address for server in databases]),
        "DREDGE_BROKER_URL": f"redis://{broker.host.address}:{BROKER_PORT}/0",
    }
    here = {"DREDGE_DATABASE_URL": _url([str(server.socket) for server in databases])}
    clients = command_environment({**shared, **here})
    initialise(tree, clients)
    settings = Settings.from_env(clients)
    database.configure(settings.database_url)
    repositories = [
        repository.ensure(namespace.ensure(owner, window_s=window_s).id, f"app{n}").id
        for owner, window_s in WINDOWS_S.items()
        for n in range(REPOSITORIES)
    ]
    probes = repository.ensure(namespace.ensure("probes", window_s=0).id, "probe").id
    environment = command_environment({**shared, **there})
    with Workers(lines_of(network, tree), environment, directory) as workers:
        yield Deployment(
            network, primary, standby, broker, directory, clients, settings, workers, repositories, probes
        )
        network.restore()


def initialise(tree: Path, environment: Mapping[str, str]) -> None:
    """`dredge init` with the code of `tree`."""
    script = "from worker.cli import main; main(['init'])"
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tree,
        env={**os.environ, **environment, "PYTHONPATH": str(tree)},
        check=True,
        capture_output=True,
    )


def _url(hosts: list[str]) -> str:
    ports = ",".join(str(PORT) for _ in hosts)
    return f"postgresql://dredge@/dredge?host={','.join(hosts)}&port={ports}&target_session_attrs=read-write"
