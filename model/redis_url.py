"""A Redis URL: which server it means, the same for everybody who asks.

One server, a Unix socket, the master that Sentinels name, or a cluster; with TLS, whose certificates
are verified unless the URL says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model import server_url
from model.errors import BadInput
from model.server_url import Node, Tls

SINGLE = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
CLUSTER = ("redis+cluster", "rediss+cluster")
_PORT, _SENTINEL_PORT = 6_379, 26_379
_NUMBERS = ("max_connections", "health_check_interval")


@dataclass(frozen=True)
class RedisUrl:
    """What a URL says; `path` is a socket's, `service` the master's name at the Sentinels."""

    scheme: str
    nodes: tuple[Node, ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    tls: Tls | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    sentinel_credentials: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_sentinel(self) -> bool:
        """The nodes are Sentinels."""
        return self.scheme.endswith("+sentinel")

    @property
    def place(self) -> str:
        """Hosts and ports, or the socket's path; for people, without secrets."""
        named = f" ({self.service})" if self.service else ""
        return self.path or ",".join(f"{host}:{port}" for host, port in self.nodes) + named

    @property
    def ssl_options(self) -> dict[str, Any]:
        """The keyword arguments of redis-py's TLS connections; empty without TLS."""
        if self.tls is None:
            return {}
        files = {
            "ssl_ca_certs": self.tls.ca_file,
            "ssl_certfile": self.tls.certificate_file,
            "ssl_keyfile": self.tls.key_file,
        }
        return {
            "ssl_cert_reqs": self.tls.verification,
            "ssl_check_hostname": self.tls.verifies and self.tls.check_hostname,
            **{name: path for name, path in files.items() if path},
        }

    def sentinel_options(self, timeout_s: float) -> dict[str, Any]:
        """The keyword arguments of the clients that ask the Sentinels themselves."""
        timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        tls = {"ssl": True, **self.ssl_options} if self.tls else {}
        return {**timeouts, **tls, **self.sentinel_credentials}


def parse(url: str) -> RedisUrl:
    """Read `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`.

    Raises `BadInput`, without any part of the URL that may be a secret.
    """
    parts = server_url.split(url)
    scheme, options = parts.scheme, parts.options
    if scheme not in (*SINGLE, *CLUSTER):
        raise BadInput(f"must start with {', '.join(f'{name}://' for name in (*SINGLE, *CLUSTER))}")
    kind = scheme.partition("+")[2]
    tls = server_url.read_tls(options) if scheme.startswith("rediss") else None
    number, service, path = options.pop("db", ""), "", ""
    if scheme == "unix":
        path = parts.path
        if not path or parts.nodes:
            raise BadInput("must name the socket by its whole path: unix:///path/to/socket?db=0")
    elif kind == "sentinel":
        service, _, found = parts.path.strip("/").partition("/")
        number = number or found
    else:
        number = number or parts.path.strip("/")
    nodes = parts.with_ports(_SENTINEL_PORT if kind == "sentinel" else _PORT)
    _check(scheme, nodes, service, number, options, tls)
    return RedisUrl(
        scheme,
        nodes if kind or path else nodes or (("localhost", _PORT),),
        path,
        service,
        int(number or 0),
        tls,
        {name: int(options.pop(name)) for name in _NUMBERS if name in options},
        _credentials(parts.username, parts.password),
        _credentials(options.pop("sentinel_username", None), options.pop("sentinel_password", None)),
    )


def _check(
    scheme: str,
    nodes: tuple[Node, ...],
    service: str,
    number: str,
    options: Mapping[str, str],
    tls: Tls | None,
) -> None:
    kind = scheme.partition("+")[2]
    allowed = {*_NUMBERS, *(("sentinel_username", "sentinel_password") if kind == "sentinel" else ())}
    if kind and not nodes:
        raise BadInput(f"must name its hosts: {scheme}://host:port,host:port")
    if kind == "sentinel" and not service:
        raise BadInput(f"must name its hosts and the master: {scheme}://host:port,host:port/mymaster/0")
    if not kind and len(nodes) > 1:
        raise BadInput("names several hosts: a URL of Sentinels starts with redis+sentinel://")
    if number and not number.isdigit():
        raise BadInput("must end in the number of a database: redis://host:6379/0")
    if tls is None and any(name in server_url.TLS_OPTIONS for name in options):
        raise BadInput("has a TLS option: it must start with rediss")
    if unknown := set(options) - allowed:
        known = ", ".join(sorted({*allowed, "db", *server_url.TLS_OPTIONS}))
        raise BadInput(f"has {len(unknown)} unknown option(s); known are {known}")
    if not all(options[name].isdigit() for name in _NUMBERS if name in options):
        raise BadInput(f"must have numbers in {' and '.join(_NUMBERS)}")


def _credentials(username: str | None, password: str | None) -> dict[str, str]:
    given = {"username": username, "password": password}
    return {name: value for name, value in given.items() if value}
