"""Split the URL of a server into credentials, hosts, path and TLS options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from model.errors import BadInput

# The names that redis-py and kombu use.
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
    """The CAs that verify the server (by default the system's), and the client's certificate."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    verification: Literal["required", "none"] = "required"
    check_hostname: bool = True

    @property
    def verifies(self) -> bool:
        """Return False if the URL says that any certificate is accepted."""
        return self.verification == "required"


@dataclass(frozen=True)
class ServerUrl:
    """The parts of a URL, percent-decoded.  `options` is the query."""

    scheme: str
    nodes: tuple[tuple[str, int | None], ...]
    path: str
    username: str | None
    password: str | None = field(repr=False)
    options: dict[str, str] = field(repr=False)

    def with_ports(self, default: int) -> tuple[Node, ...]:
        """Return every host with its port, or the default port."""
        return tuple((host, port or default) for host, port in self.nodes)


def split(url: str) -> ServerUrl:
    """Split `scheme://user:password@host:port,host:port/path?option=value`.

    Raises `BadInput`.  The message has no part of the URL, because any part may be a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadInput(f"is not a URL: {_ADVICE}") from None
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, separator, password = credentials.partition(":")
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        # The password has a slash, a question mark or a hash that is not percent-encoded.
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
        raise BadInput(f"has a port that is not a number from 1 to 65535: {_ADVICE}")
    return unquote(host).strip("[]"), int(port)


def read_tls(options: dict[str, str]) -> Tls:
    """Remove the TLS options from `options` and parse them.  Raises `BadInput` for a wrong value."""
    given = {name: options.pop(name) for name in TLS_OPTIONS if name in options}
    ca_file, certificate_file, key_file = (given.get(name, "") for name in TLS_OPTIONS[:3])
    for path in filter(None, (ca_file, certificate_file, key_file)):
        if not Path(path).is_file():
            raise BadInput(f"names a file of certificates or keys that does not exist: {path}")
    verification = _VERIFICATION.get(given.get("ssl_cert_reqs", "required"))
    if verification is None:
        raise BadInput("has an ssl_cert_reqs that is neither required nor none")
    hostname = given.get("ssl_check_hostname", "true").lower()
    if hostname not in ("true", "false"):
        raise BadInput("has an ssl_check_hostname that is neither true nor false")
    return Tls(ca_file, certificate_file, key_file, verification, hostname == "true")
