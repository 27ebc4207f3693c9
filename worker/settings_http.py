"""The settings of what speaks HTTP: the status page and its API, and webhooks."""

from __future__ import annotations

from dataclasses import dataclass

from worker.api_token import ApiToken, parse_tokens
from worker.environment import setting
from worker.parsers import number, text


@dataclass(frozen=True)
class HttpSettings:
    """The part of the settings that `dredge web` and webhooks add."""

    web_host: str = setting("127.0.0.1", text, "address that `dredge web` listens on")
    web_port: int = setting(8090, number(1, 65_535), "port that `dredge web` listens on")
    web_tokens: tuple[ApiToken, ...] = setting(
        tuple,
        parse_tokens,
        "tokens of `dredge web`, as `dredge web token` prints them; none: read-only, on loopback",
        secret=True,
    )
