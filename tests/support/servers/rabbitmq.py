"""A RabbitMQ node with its own cookie, data and port, and without plugins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from tests.support.servers.redises import Certificates
from worker.local.servers.base import Server, free_port

_PLACES = "/usr/lib/rabbitmq/bin:/usr/local/sbin:/usr/sbin:/opt/homebrew/sbin"


class RabbitMQ(Server):
    """RabbitMQ on `port`, and with certificates over TLS on `tls_port`."""

    name = "RabbitMQ"
    # The start takes ten seconds on an idle machine.
    start_s = 300

    def __init__(self, directory: Path, certificates: Certificates | None = None, **options: Any) -> None:
        # Not Debian's wrapper in /usr/sbin, which uses its own directories for data and log.
        self._program = shutil.which("rabbitmq-server", path=_PLACES)
        if not self._program:
            pytest.skip("rabbitmq-server is not installed")
        super().__init__(directory, **options)
        self._certificates = certificates
        self.tls_port = free_port() if certificates else 0
        self._distribution_port = free_port()

    def command(self) -> list[str]:
        return [self._program or ""]

    def privileges(self) -> dict[str, Any]:
        (self.directory / "rabbitmq.conf").write_text(self._configuration())
        (self.directory / "plugins").write_text("[].\n")
        names = {
            "HOME": self.directory,
            "RABBITMQ_NODENAME": f"dredge{self.port}@localhost",
            "RABBITMQ_DIST_PORT": self._distribution_port,
            "RABBITMQ_CONFIG_FILE": self.directory / "rabbitmq",
            "RABBITMQ_MNESIA_BASE": self.directory / "data",
            "RABBITMQ_LOG_BASE": self.directory / "log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.directory / "plugins",
            "RABBITMQ_PID_FILE": self.directory / "pid",
            # One scheduler: by default a node uses a busy thread for each core.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        return {"env": {**os.environ, **{name: str(value) for name, value in names.items()}}}

    def _configuration(self) -> str:
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "disk_free_limit.absolute = 10MB"]
        if files := self._certificates:
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {files.ca}",
                f"ssl_options.certfile = {files.chain}",
                f"ssl_options.keyfile = {files.key}",
                "ssl_options.verify = verify_none",
            ]
        return "\n".join(lines) + "\n"

    def answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=2) as link:
                link.connect()
        except Exception:  # noqa: BLE001  any error during the start means that it does not answer yet
            return False
        return True

    @property
    def url(self) -> str:
        """amqp://…"""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"
