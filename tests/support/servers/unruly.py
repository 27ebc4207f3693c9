"""A proxy in front of the tests' S3 server, which answers some requests as a test tells it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.patience import PATIENCE_S
from tests.support.servers.http import Handler, serving

Answer = tuple[int, bytes] | None
Response = tuple[int, bytes, dict[str, str]]
HANG = (0, b"")
CUT = (-1, b"")
# The headers of the store's answer that a client needs.
KEPT = ("etag", "last-modified", "content-type", "x-amz-version-id")


@dataclass
class Unruly:
    """`answer(method, path, body)` returns status and body, `HANG`, `CUT`, or None to pass the request on."""

    upstream: str
    url: str = ""
    answer: Callable[[str, str, bytes], Answer] = lambda *_: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def respond(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Response:
        self.requests.append((method, path))
        answer = self.answer(method, path, body)
        if answer == HANG:
            self.release.wait(PATIENCE_S)
        if answer:
            return *answer, {}
        return self.pass_on(method, path, body, headers)

    def pass_on(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Response:
        kept = {
            name: value for name, value in headers.items() if name.lower() not in ("host", "content-length")
        }
        kept.setdefault("content-type", "application/octet-stream")
        request = urllib.request.Request(self.upstream + path, data=body or None, method=method, headers=kept)
        try:
            with urllib.request.urlopen(request) as found:
                return found.status, found.read(), dict(found.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)


@contextmanager
def unruly_server(upstream: str) -> Iterator[Unruly]:
    """Run the proxy until the block ends."""
    unruly = Unruly(upstream)

    class Proxy(Handler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, content, headers = unruly.respond(self.command, self.path, body, dict(self.headers))
            if status < 0:
                self.close_connection = True
            elif status:
                kept = {name: value for name, value in headers.items() if name.lower() in KEPT}
                if self.command == "HEAD" and "Content-Length" in headers:
                    kept["Content-Length"] = headers["Content-Length"]
                self.answer(status, content, kept)

    for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
        setattr(Proxy, f"do_{method}", Proxy.serve)

    with serving(Proxy) as port:
        unruly.url = f"http://127.0.0.1:{port}"
        try:
            yield unruly
        finally:
            unruly.release.set()
