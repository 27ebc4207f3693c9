"""Translate the broker's URL for each of its users: kombu, the result backend, and Redis clients.

Each part of Celery writes TLS, Sentinels, sockets and databases in its own form.  Only this module knows
those forms.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from model import redis_url, server_url
from model.errors import BadInput
from model.redis_url import RedisUrl
from model.server_url import Node, Tls

AMQP = ("amqp", "amqps")
BROKERS = (*redis_url.SINGLE, *AMQP)
TIMEOUT_S = 5
_PORTS = {"amqp": 5_672, "amqps": 5_671}


@dataclass(frozen=True)
class KombuUrl:
    """Arguments of kombu's `Connection`, which are also values of Celery's settings.

    `ssl` is None without TLS; `transport_options` has only the options that follow from the URL.
    """

    url: str = field(repr=False)
    ssl: dict[str, Any] | None = None
    transport_options: dict[str, Any] = field(default_factory=dict, repr=False)


def is_amqp(url: str) -> bool:
    """Return whether the broker is RabbitMQ."""
    return url.partition("://")[0] in AMQP


def for_kombu(url: str) -> KombuUrl:
    """Return what kombu and Celery's result backend need to reach this server.  Raises `BadInput`."""
    if is_amqp(url):
        return _amqp(url)
    found = redis_url.parse(url)
    if found.scheme in redis_url.CLUSTER:
        raise BadInput("names a cluster, which Celery cannot use as its broker: use one server or Sentinels")
    userinfo = _userinfo(found.credentials.get("username"), found.credentials.get("password"))
    if found.path:
        path = quote(found.path)
        return KombuUrl(f"redis+socket://{userinfo}{path}?virtual_host={found.database}")
    tls = found.ssl_options or None
    if found.is_sentinel:
        options = {"master_name": found.service, "sentinel_kwargs": found.sentinel_options(TIMEOUT_S)}
        return KombuUrl(_hosts("sentinel", userinfo, found.nodes, str(found.database)), tls, options)
    return KombuUrl(_hosts(found.scheme, userinfo, found.nodes, str(found.database)), tls)


def place(url: str) -> str:
    """Return where the server is, for messages; without secrets."""
    if not is_amqp(url):
        return redis_url.parse(url).place
    nodes = server_url.split(url).with_ports(_PORTS[url.partition("://")[0]])
    return ",".join(f"{host}:{port}" for host, port in nodes)


def shown(url: str) -> str:
    """Return a URL of the first host of a Redis, for banners; without secrets."""
    found = redis_url.parse(url)
    return f"{found.scheme}://{found.path or f'{found.nodes[0][0]}:{found.nodes[0][1]}'}"


def check_redis(url: str) -> RedisUrl:
    """Parse the URL of a Redis that is not a cluster.  Raises `BadInput`."""
    found = redis_url.parse(url)
    if found.scheme in redis_url.CLUSTER:
        raise BadInput("names a cluster: use one server or Sentinels")
    return found


def _amqp(url: str) -> KombuUrl:
    parts = server_url.split(url)
    nodes = parts.with_ports(_PORTS[parts.scheme]) or (("localhost", _PORTS[parts.scheme]),)
    tls = server_url.read_tls(parts.options) if parts.scheme == "amqps" else None
    if parts.options:
        known = ", ".join(server_url.TLS_OPTIONS)
        raise BadInput(f"has {len(parts.options)} unknown option(s); amqps:// knows {known}")
    if tls and len(nodes) > 1:
        raise BadInput("names several hosts: with TLS, name one host or a load balancer")
    # kombu reads an empty path, and a path of one slash, as the virtual host `/`.
    vhost = parts.path.removeprefix("/") or "/"
    userinfo = _userinfo(parts.username, parts.password)
    return KombuUrl(_hosts(parts.scheme, userinfo, nodes, vhost), _amqp_ssl(tls) if tls else None)


def _amqp_ssl(tls: Tls) -> dict[str, Any]:
    """Return the TLS arguments of py-amqp; if the server's name is None, py-amqp uses the host."""
    files = {"ca_certs": tls.ca_file, "certfile": tls.certificate_file, "keyfile": tls.key_file}
    # py-amqp verifies the name only if it is given one.
    name = {"server_hostname": None} if tls.verifies and tls.check_hostname else {}
    verification = ssl.CERT_REQUIRED if tls.verifies else ssl.CERT_NONE
    return {"cert_reqs": verification, **name, **{key: path for key, path in files.items() if path}}


def _userinfo(username: str | None, password: str | None) -> str:
    if not username and not password:
        return ""
    secret = f":{quote(password, safe='')}" if password else ""
    return f"{quote(username or '', safe='')}{secret}@"


def _hosts(scheme: str, userinfo: str, nodes: tuple[Node, ...], path: str) -> str:
    """Return one URL per host, joined as kombu expects."""
    named = ((f"[{host}]" if ":" in host else host, port) for host, port in nodes)
    return ";".join(f"{scheme}://{userinfo}{host}:{port}/{quote(path, safe='')}" for host, port in named)
