"""Object stores for Node.js: `s3rver` with the API of S3, and `azurite` with that of Azure Blob Storage."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import signal
import socket
import urllib.request
from email.utils import formatdate
from pathlib import Path
from typing import Any, ClassVar

import pytest

from worker.local.servers.base import Server


class NodeServer(Server):
    """A server from a package of npm; its tests skip if the program is not on the path."""

    program: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGINT

    def __init__(self, directory: Path) -> None:
        self._found = shutil.which(self.program)
        if not self._found:
            pytest.skip(f"{self.program} is not installed (npm install {self.name})")
        super().__init__(directory)

    def command(self) -> list[str]:
        return [str(self._found), *self.arguments()]

    def arguments(self) -> list[str]:
        """Return the arguments of the program."""
        raise NotImplementedError

    def privileges(self) -> dict[str, Any]:
        return {"env": {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}}

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def endpoint(self) -> str:
        """Return the URL of the server."""
        return f"http://127.0.0.1:{self.port}"


class S3rver(NodeServer):
    """S3 on a directory; the access key and the secret key are the program's name."""

    name = program = "s3rver"
    key = "S3RVER"

    def arguments(self) -> list[str]:
        return ["-d", str(self.directory), "-a", "127.0.0.1", "-p", str(self.port), "--no-vhost-buckets"]


class Azurite(NodeServer):
    """Azure Blob Storage by Microsoft, with its documented account and key."""

    name, program = "azurite", "azurite-blob"
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def arguments(self) -> list[str]:
        return [
            *("--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.directory)),
            *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
        ]

    def create_container(self, name: str) -> None:
        """Create a container with a signed request, since our drivers do not create containers."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        lines = [f"{header}:{value}" for header, value in headers.items()]
        resource = f"/{self.account}/{self.account}/{name}\nrestype:container"
        text = "\n".join(["PUT", *[""] * 11, *lines, resource])
        digest = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"
        url = f"{self.endpoint}/{self.account}/{name}?restype=container"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()
