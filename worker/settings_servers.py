"""The settings of the servers, and of the connections to them."""

from __future__ import annotations

from dataclasses import dataclass

from worker.broker.urls import is_amqp
from worker.environment import PREFIX, setting
from worker.parsers import base64_key, broker, cache, database_url, flag, number, redis_server, text, url


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the database, broker, Redis, cache, and a live Quay's Redis and Clair."""

    database_url: str = setting(
        "",
        database_url,
        "PostgreSQL with the registry's tables; empty: embedded",
        secret=True,
    )
    prepared_statements: bool = setting(
        True, flag, "plan statements once per connection; must be off behind PgBouncer in transaction mode"
    )
    broker_url: str = setting(
        "", broker, "Redis or RabbitMQ for Celery and events; empty: embedded server", secret=True
    )
    redis_url: str = setting(
        "",
        redis_server,
        "Redis of locks, marks and results (default: the broker's); needed with RabbitMQ",
        secret=True,
    )
    cache_url: str = setting(
        "",
        cache,
        "Redis of the cache (default: that of the locks); memory:// or none:// also work",
        secret=True,
    )
    cache_replica_url: str = setting(
        "", cache, "Redis to read cache entries from (default: that of the cache)", secret=True
    )

    quay_redis_url: str = setting(
        "",
        redis_server,
        "Redis of a live Quay: Dredge takes Quay's locks and deletes its cache entries",
        secret=True,
    )
    clair_url: str = setting("", url("http", "https"), "Clair v4 whose security reports are deleted")
    clair_psk: str = setting("", base64_key, "Clair's pre-shared key, base64", secret=True)

    cache_prefix: str = setting("", text, "prefix of this system's cache keys")
    cache_ttls: dict[str, float] = setting(
        dict, number(0, 1e8, float), "how long entries of one kind are cached, seconds; 0: not cached"
    )
    cache_max_bytes: int = setting(1_000_000, number(1, 512_000_000), "largest value that is cached, bytes")
    cache_sizes: dict[str, int] = setting(
        dict, number(1, 512_000_000), "largest value of one kind that is cached, bytes"
    )
    cache_timeout_s: float = setting(
        0.5, number(0.01, 60, float), "connect and read timeout of the cache, seconds"
    )

    key_prefix: str = setting("dredge:", text, "prefix of this system's keys in the broker's Redis")

    @property
    def own_redis(self) -> str:
        """URL of the Redis that keeps locks, marks and results."""
        return self.redis_url or self.broker_url

    @property
    def own_redis_variable(self) -> str:
        """Name of the variable that names that Redis."""
        return f"{PREFIX}{'REDIS' if self.redis_url else 'BROKER'}_URL"

    def _missing_servers(self) -> list[str]:
        if is_amqp(self.broker_url) and not self.redis_url:
            return [f"{PREFIX}REDIS_URL: not set; beside RabbitMQ a Redis keeps locks, marks and results"]
        return []
