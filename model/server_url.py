"""The URL of a server: who asks, which hosts, what there, over TLS or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from model.errors import BadInput

# As redis-py and kombu spell them.
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_ADVICE = "percent-encode special characters in its user and password"
_VERIFICATION: dict[str, Literal["required", "none"]] = {
    "required": "required",
    "none": "none",
    "CERT_REQUIRED": "required",
    "CERT_NONE": "none",
}

Node = tuple[str, int]


@dataclass(frozen=True)
class Tls:
    """How a server's certificate is verified, by default by the system's CAs, and which one it is shown."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    verification: Literal["required", "none"] = "required"
    check_hostname: bool = True

    @property
    def verifies(self) -> bool:
        """False where the URL says that any certificate will do."""
        return self.verification == "required"


@dataclass(frozen=True)
class ServerUrl:
    """A URL in parts, each percent-decoded; `options` is its query."""

    scheme: str
    nodes: tuple[tuple[str, int | None], ...]
    path: str
    username: str | None
    password: str | None = field(repr=False)
    options: dict[str, str] = field(repr=False)

    def with_ports(self, default: int) -> tuple[Node, ...]:
        """Every host with its port."""
        return tuple((host, port or default) for host, port in self.nodes)


def split(url: str) -> ServerUrl:
    """Read `scheme://user:password@host:port,host:port/path?option=value`.

    Raises `BadInput`; its message never holds a part of the URL, which may be a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadInput(f"is not a URL: {_ADVICE}") from None
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, separator, password = credentials.partition(":")
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        # A slash, a question mark or a hash in a password ends the host early.
        raise BadInput(f"is not a URL: {_ADVICE}")
    return ServerUrl(
        parts.scheme,
        tuple(_node(host) for host in hosts.split(",") if host),
        unquote(parts.path),
        unquote(username) or None,
        unquote(password) if separator else None,
        dict(parse_qsl(parts.query)),
    )


def _node(text: str) -> tuple[str, int | None]:
    host, separator, port = text.rpartition(":")
    if not separator or port.endswith("]"):
        return unquote(text).strip("[]"), None
    if not port.isdigit() or not 0 < int(port) < 65_536:
        raise BadInput(f"has a port that is no number: {_ADVICE}")
    return unquote(host).strip("[]"), int(port)


def read_tls(options: dict[str, str]) -> Tls:
    """Take the options of TLS out of `options`; raises `BadInput` for what makes no sense."""
    given = {name: options.pop(name) for name in TLS_OPTIONS if name in options}
    ca_file, certificate_file, key_file = (given.get(name, "") for name in TLS_OPTIONS[:3])
    for path in filter(None, (ca_file, certificate_file, key_file)):
        if not Path(path).is_file():
            raise BadInput(f"names a file of certificates or keys that is not there: {path}")
    verification = _VERIFICATION.get(given.get("ssl_cert_reqs", "required"))
    if verification is None:
        raise BadInput("has an ssl_cert_reqs that is neither required nor none")
    hostname = given.get("ssl_check_hostname", "true").lower()
    if hostname not in ("true", "false"):
        raise BadInput("has an ssl_check_hostname that is neither true nor false")
    return Tls(ca_file, certificate_file, key_file, verification, hostname == "true")
