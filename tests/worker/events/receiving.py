"""An HTTP endpoint that keeps what it receives, and answers as it is told."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

from tests.support.servers.http import Handler, serving
from worker.settings import Settings

KEY = "k" * 32
LOOPBACK = ip_network("127.0.0.0/8")
SETTINGS = Settings(webhook_key=KEY, webhook_networks=(LOOPBACK,), webhook_tries=3)


@dataclass(frozen=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Endpoint:
    """A server on loopback; `answers` are statuses to give, one for each request, then 204."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def endpoint(*answers: int, certificate: ssl.SSLContext | None = None) -> Iterator[Endpoint]:
    """A running endpoint."""
    made = Endpoint(answers=list(answers))

    class Hook(Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.received.append(Received({k.lower(): v for k, v in self.headers.items()}, body))
            self.answer(made.answers.pop(0) if made.answers else 204, headers={"Location": made.url})

    with serving(Hook, certificate) as made.port:
        yield made
