"""A client of the Redis server, socket, Sentinels or cluster that a URL means.

It is not part of `model.redis_url`, so that reading the settings does not load redis-py, which is a third of
the time that a command needs to start.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from redis.cluster import ClusterNode
from redis.sentinel import MasterNotFoundError, Sentinel

from model.redis_url import CLUSTER, RedisUrl

Client = redis.Redis | redis.RedisCluster


def connector(url: RedisUrl, timeout_s: float, **options: Any) -> Callable[[], Client]:
    """A function that makes a client; nothing is opened before the client's first command.

    `options` are redis-py's, for each connection to a server of data.
    """
    timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    common: dict[str, Any] = {**timeouts, **url.numbers, **options, **url.credentials}
    if url.path:
        common.pop("socket_keepalive", None)
        return lambda: redis.Redis(unix_socket_path=url.path, db=url.database, **common)
    tls = {"ssl": True, **url.ssl_options} if url.tls else {}
    if url.is_sentinel:
        return lambda: _sentinel(url, timeout_s, {**common, **tls, "db": url.database})
    if url.scheme in CLUSTER:
        return lambda: _cluster(url, {**common, **tls})
    host, port = url.nodes[0]
    return lambda: redis.Redis(host=host, port=port, db=url.database, **common, **tls)


def _cluster(url: RedisUrl, options: dict[str, Any]) -> Client:
    startup: list[Any] = [_untyped(ClusterNode)(host, port) for host, port in url.nodes]
    return redis.RedisCluster(startup_nodes=startup, **options)


class _Sentinels(Sentinel):
    """Sentinels whose error is short, and that of their credentials if those are refused."""

    def discover_master(self, service_name: str) -> Any:
        ask: Any = super().discover_master
        try:
            return ask(service_name)
        except MasterNotFoundError:
            for each in self.sentinels:
                with suppress(redis.TimeoutError):
                    each.ping()  # Raises the error of a Sentinel that cannot be asked.
            raise MasterNotFoundError(f"No Sentinel knows a master {service_name!r}") from None


def _sentinel(url: RedisUrl, timeout_s: float, options: dict[str, Any]) -> Client:
    asking = url.sentinel_options(timeout_s)
    if "retry" in options:
        asking["retry"] = options["retry"]
    sentinels = _untyped(_Sentinels)(url.nodes, sentinel_kwargs=asking)
    client: Client = sentinels.master_for(url.service, **options)
    return client


def _untyped(made: Any) -> Any:
    """A class of the client library whose constructor has no annotations."""
    return made
