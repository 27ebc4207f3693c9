"""Measure how the eraser finds the limit of an S3 server that refuses requests above it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.figure import Figure
from worker.storage.open import open_store

LIMITS = (3_000, 1_200, 2_400)
SETTLE_S = 30.0
BATCH = 1_000
_KEY = re.compile(rb"<Key>([^<]*)</Key>")


class Server(ThreadingHTTPServer):
    """Admits `limit` objects per second, and at once at most those of a quarter of a second."""

    limit = LIMITS[0]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._lock = threading.Lock()
        self._free, self._seen = 0.0, time.monotonic()
        self.objects = self.requests = self.refused = 0

    def admits(self, objects: int) -> bool:
        """Count a request, and return whether it is carried out."""
        with self._lock:
            now = time.monotonic()
            self._free = min(self.limit / 4, self._free + (now - self._seen) * self.limit)
            self._seen = now
            self.requests += 1
            if self._free < objects:
                self.refused += 1
                return False
            self._free -= objects
            self.objects += objects
            return True

    def count(self, seconds: float) -> tuple[float, float]:
        """Return the objects per second of this period, and the share of requests that were refused."""
        with self._lock:
            self.objects = self.requests = self.refused = 0
        started = time.monotonic()
        time.sleep(seconds)
        return self.objects / (time.monotonic() - started), self.refused / max(1, self.requests)


class Handler(BaseHTTPRequestHandler):
    """Answers bulk deletes."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        """Delete the keys of the request, or ask for fewer requests."""
        keys = _KEY.findall(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.admits(len(keys)):
            status = 200
            gone = b"".join(b"<Deleted><Key>" + key + b"</Key></Deleted>" for key in keys)
            body = b"<DeleteResult>" + gone + b"</DeleteResult>"
        else:
            status, body = 503, b"<Error><Code>SlowDown</Code></Error>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def limited(name: str, seconds: float) -> Iterator[Figure]:
    """Yield the used part of each limit after the rate has settled, and the part of refused requests."""
    with _server() as server:
        stop = threading.Event()
        eraser = threading.Thread(target=_erase, args=(server.server_port, stop), daemon=True)
        eraser.start()
        for limit in LIMITS:
            server.limit = limit
            server.count(SETTLE_S)
            rate, refused = server.count(max(seconds, SETTLE_S))
            about = f"S3 that admits {limit:,} objects/s, {SETTLE_S:.0f} s after that began"
            yield Figure(name, f"{about}: rate against it", rate / limit, "times", "at least 0.9")
            yield Figure(name, f"{about}: refused", refused * 100, "% of requests", "at most 1")
        stop.set()
        eraser.join()


def _erase(port: int, stop: threading.Event) -> None:
    store = open_store(f"s3://bench/objects?endpoint=http://127.0.0.1:{port}&region=us-east-1&timeout=60")
    n = 0
    while not stop.is_set():
        store.erase([f"sha256/{n % 256:02x}/{each:064x}" for each in range(n, n + BATCH)])
        n += BATCH


@contextmanager
def _server() -> Iterator[Server]:
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
