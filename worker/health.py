"""The worker's HTTP port, which serves only `/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kombu import Connection
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from model.db.connection import connection, execute
from model.errors import RegistryError
from worker.broker.connection import ONCE_MORE, OUTAGE, connect
from worker.broker.urls import TIMEOUT_S, for_kombu, is_amqp
from worker.settings import Settings, SettingsError

TEXT = "text/plain; charset=utf-8"
Answer = tuple[int, str, bytes]


class Server(ThreadingHTTPServer):
    """Uses one thread per request; no thread keeps the process alive."""

    daemon_threads = True
    # Two workers must not share a port: the second one fails.
    allow_reuse_port = False


class HealthServer:
    """Answers on one port: `bind`, `serve` from a thread of its own, `close`."""

    def __init__(self, find_outages: Callable[[], list[str]]) -> None:
        """Use `find_outages`, which returns a message for each server that does not answer."""
        self._registry = CollectorRegistry()
        self._find_outages = find_outages
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def bind(self, host: str, port: int) -> None:
        """Bind the port.  Raises `SettingsError` if it is in use: each worker needs a port of its own."""
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing for a scrape."""

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise SettingsError(
                [f"DREDGE_METRICS_PORT: {host}:{port}: {error.strerror}; give each worker a port of its own"]
            ) from error

    def serve(self, registry: CollectorRegistry) -> None:
        """Serve requests in a thread, with these metrics."""
        self._registry = registry
        if self._server is not None:
            self._thread = threading.Thread(
                target=self._server.serve_forever, name="dredge-health", daemon=True
            )
            self._thread.start()

    def answer(self, path: str) -> Answer:
        """Return status, content type and body of a GET."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/healthz":
            return 200, TEXT, b"alive\n"
        if path == "/readyz":
            problems = self._find_outages()
            return 503 if problems else 200, TEXT, "".join(f"{p}\n" for p in problems or ["ready"]).encode()
        return 404, TEXT, b"/metrics, /healthz and /readyz are here\n"

    def close(self) -> None:
        """Close the port.  Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            if self._thread is not None:
                server.shutdown()
            server.server_close()


class DatabaseProbe:
    """Asks the database for an answer, and waits five seconds for it.

    A statement on a connection that exists waits for ever if the server is frozen.  So a thread waits, one at
    a time: while it does, the database does not answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._answered = False

    def answers(self) -> bool:
        """Return whether the database answers in time."""
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._answered = False
                self._asking = threading.Thread(target=self._ask, name="dredge-probe", daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(TIMEOUT_S)
        return not asking.is_alive() and self._answered

    def _ask(self) -> None:
        with suppress(RegistryError), connection():
            execute("SELECT 1")
            self._answered = True


_DATABASE = DatabaseProbe()


def find_outages(settings: Settings) -> list[str]:
    """Return a message, without secrets, for the database and the broker if it does not answer."""
    problems = [] if _DATABASE.answers() else ["the database does not answer"]
    return problems + [
        f"the {name} does not answer" for name, url in _servers(settings).items() if not _answers(url)
    ]


def _servers(settings: Settings) -> dict[str, str]:
    found = {"broker": settings.broker_url, "Redis": settings.own_redis}
    return {name: url for name, url in found.items() if name == "broker" or url != settings.broker_url}


def _answers(url: str) -> bool:
    try:
        if is_amqp(url):
            found = for_kombu(url)
            with Connection(found.url, ssl=found.ssl or False) as link:
                link.ensure_connection(**ONCE_MORE, timeout=TIMEOUT_S)
        else:
            with connect(url) as client:
                client.ping()
    except OUTAGE:
        return False
    return True
