"""The settings of HTTP: the status page, its API, and webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from worker.api_token import ApiToken, parse_tokens
from worker.environment import setting
from worker.parsers import long_text, networks, number, text


@dataclass(frozen=True)
class HttpSettings:
    """The settings of `dredge web` and of webhooks."""

    web_host: str = setting("127.0.0.1", text, "address that `dredge web` listens on")
    web_port: int = setting(8090, number(1, 65_535), "port that `dredge web` listens on")
    web_tokens: tuple[ApiToken, ...] = setting(
        tuple,
        parse_tokens,
        "tokens of `dredge web`, as `dredge web token` prints them; none: read-only, on loopback",
        secret=True,
    )
    webhook_key: str = setting(
        "", long_text, "key that the secrets of webhooks are made of, 32 characters or more", secret=True
    )
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = setting(
        tuple, networks, "networks beside public addresses that webhooks may lead to: `10.0.0.0/8,…`"
    )
    webhook_tries: int = setting(12, number(1, 100), "tries after which a delivery to a webhook is given up")
