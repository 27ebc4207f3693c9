"""Clients for every kind of Redis URL, all with timeouts and without hidden waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry
from redis.sentinel import Sentinel

from model.errors import BadInput

Client = redis.Redis | redis.RedisCluster

_PLAIN = ("redis", "rediss", "unix")
_NUMBERS = ("max_connections", "health_check_interval")


def connector(url: str, timeout_s: float) -> Callable[[], Client]:
    """A function that makes the client for `url`; raises `BadInput` now for what it cannot be."""
    scheme = urlsplit(url).scheme
    if scheme in _PLAIN:
        return _plain(url, scheme, timeout_s)
    kind = scheme.partition("+")[2]
    if kind not in ("sentinel", "cluster") or scheme.partition("+")[0] not in ("redis", "rediss"):
        raise BadInput(f"a cache URL cannot start with {scheme}://")
    nodes, service, options = _parts(url, kind, timeout_s)
    if kind == "cluster":
        return lambda: _cluster(nodes, options)
    return lambda: _sentinel(nodes, service, options)


def _plain(url: str, scheme: str, timeout_s: float) -> Callable[[], Client]:
    options = _options(timeout_s)
    if scheme == "unix":
        del options["socket_keepalive"]
    try:
        # Connects to nothing, but says what the library does not take.
        redis.Redis.from_url(url, **options).connection_pool.make_connection()
    except (TypeError, ValueError) as error:
        raise BadInput(f"a cache URL that the client does not take: {type(error).__name__}") from error
    return lambda: redis.Redis.from_url(url, **options)


def _options(timeout_s: float) -> dict[str, Any]:
    # One more try on a new connection when a pooled one was found dead, at once; never after a
    # timeout: a frozen server costs one timeout.
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": retry,
        "retry_on_timeout": False,
    }


def _parts(url: str, kind: str, timeout_s: float) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Hosts, the sentinels' service name and options of `redis+sentinel://user:pw@h:p,h:p/service/db?…`."""
    split = urlsplit(url)
    credentials, _, hosts = split.netloc.rpartition("@")
    options = _options(timeout_s)
    for name, value in parse_qsl(split.query):
        options[name] = int(value) if name in _NUMBERS else value
    if credentials:
        user, _, password = credentials.partition(":")
        options["password"] = unquote(password)
        if user:
            options["username"] = unquote(user)
    if split.scheme.startswith("rediss"):
        options["ssl"] = True
    nodes = [_node(host, 26_379 if kind == "sentinel" else 6_379) for host in hosts.split(",") if host]
    service, _, number = split.path.strip("/").partition("/")
    if not nodes or (kind == "sentinel" and not service):
        raise BadInput(f"a cache URL must name its hosts: {split.scheme}://host:port,host:port/service")
    if number:
        options["db"] = int(number) if number.isdigit() else 0
    return nodes, service, options


def _node(text: str, default_port: int) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or port.endswith("]"):
        return text.strip("[]"), default_port
    if not port.isdigit():
        raise BadInput("a port in a cache URL must be a number")
    return host.strip("[]"), int(port)


def _cluster(nodes: list[tuple[str, int]], options: dict[str, Any]) -> Client:
    kept = {name: value for name, value in options.items() if name not in ("db", "retry_on_timeout")}
    startup: list[Any] = [_untyped(ClusterNode)(host, port) for host, port in nodes]
    return redis.RedisCluster(startup_nodes=startup, **kept)


def _sentinel(nodes: list[tuple[str, int]], service: str, options: dict[str, Any]) -> Client:
    timeouts = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout")}
    client: Client = _untyped(Sentinel)(nodes, sentinel_kwargs=timeouts).master_for(service, **options)
    return client


def _untyped(made: Any) -> Any:
    """A class of the client library whose constructor has no annotations."""
    return made
