"""A small registry on servers that may be ill-treated, with real images in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from model import namespace, registry, repository
from model.db import connection as database
from model.db import schema
from model.db.connection import connection, fetch_one
from tests.soak.audit import audit_registry, come_to_rest
from tests.soak.images import Image, Pusher, image, pull
from tests.support.databases import memory
from tests.support.patience import PATIENCE_S, eventually
from tests.worker.broker.running import Process, celery, worker
from worker.local.embedded import EmbeddedServers
from worker.settings import Settings
from worker.storage.base import Stores
from worker.storage.open import open_stores


@dataclass
class OutageServers:
    """The servers, the settings of all processes, and one repository, `now/app`, without a window."""

    servers: EmbeddedServers
    environment: dict[str, str]
    directory: Path
    repository_id: int = 0

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environment)

    @cached_property
    def stores(self) -> Stores:
        """Opened once: opening makes the directory."""
        return open_stores(self.settings.storage)

    @property
    def pusher(self) -> Pusher:
        return Pusher(self.stores, self.settings.policy)

    def push(self, tag: str, *layers: int) -> Image:
        """Push an image of these layers (one of its own without any) under a tag."""
        made = image(layers or [hash(tag) % 1000], name=tag)
        self.pusher.push(self.repository_id, made, tag)
        return made

    def delete(self, *tags: str) -> None:
        for tag in tags:
            assert registry.delete_tag(self.repository_id, tag) is not None

    def pull(self, tag: str) -> None:
        """Read every byte; raises `Lost`."""
        assert pull(self.stores, self.repository_id, tag) > 0

    def count(self, table: str, where: str = "true", *values: Any) -> int:
        with connection():
            return int(fetch_one(f'SELECT count(*) AS n FROM "{table}" WHERE {where}', values).n)

    def gone(self, made: Image, *running: Process) -> None:
        """Wait until neither the manifest nor an object of its own config is left."""

        def is_gone() -> bool:
            config = next(iter(made.blobs))
            path = f"sha256/{config[7:9]}/{config[7:]}"
            there = self.count("manifest", "digest = %s", made.digest)
            return not there and self.stores["local_us"].size(path) is None

        eventually(is_gone, *running)

    @contextmanager
    def system(self, *, beat: bool = True, app: str = "worker", concurrency: int = 1) -> Iterator[Process]:
        """A worker and a beat; the worker."""
        with ExitStack() as stack:
            if beat:
                stack.enter_context(celery(self.environment, self.directory, "beat"))
            yield stack.enter_context(
                worker(self.environment, self.directory, app=app, concurrency=concurrency)
            )

    def settle(self, *running: Process, patience_s: float = PATIENCE_S) -> None:
        """Wait for rest; then nothing is lost and nothing is left."""
        left = come_to_rest(self.settings.policy, patience_s=patience_s, calm_s=0.3)
        assert not left, left + "\n".join(each.log[-4000:] for each in running)
        assert audit_registry(self.stores, self.settings.policy).wrong == []


@pytest.fixture
def outage_servers(tmp_path: Path) -> Iterator[OutageServers]:
    """Fresh servers; PostgreSQL is durable, since it may be killed."""
    with EmbeddedServers(temporary_in=memory()) as servers:
        storage = tmp_path / "storage"
        storage.mkdir(exist_ok=True)
        environment = {
            **servers.environment(),
            "DREDGE_STORAGE": f"local_us=file://{storage}?fsync=off",
            "DREDGE_SCAN_INTERVAL_S": "0.5",
            "DREDGE_QUARANTINE_S": "0",
            "DREDGE_PUSH_TTL_S": "5",
        }
        database.configure(servers.database_url)
        schema.create()
        made = OutageServers(servers, environment, tmp_path)
        made.repository_id = repository.ensure(namespace.ensure("now", window_s=0).id, "app").id
        try:
            yield made
        finally:
            database.db.close_all()
