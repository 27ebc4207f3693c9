"""Parsers of the settings' texts.  A parser raises `ValueError` with a message for the operator."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from model import redis_url
from model.db import dsn
from model.errors import BadInput
from model.window import parse_window
from worker.broker import urls
from worker.storage_url import parse_storage_url


def text(raw: str) -> str:
    """Accept any text."""
    return raw


def long_text(raw: str) -> str:
    """A text of 32 characters or more: shorter ones are guessed."""
    if len(raw) < 32:
        raise ValueError("must have 32 characters or more")
    return raw


def networks(raw: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """`10.0.0.0/8,fd00::/8`: networks, separated by commas."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in raw.split(","))
    except ValueError as error:
        raise ValueError(f"must be networks such as 10.0.0.0/8: {error}") from None


def flag(raw: str) -> bool:
    """Parse true or false, each in one of four spellings."""
    word = raw.lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError("must be true or false")


def number(minimum: float, maximum: float, kind: Callable[[str], Any] = int) -> Callable[[str], Any]:
    """Return a parser of a number between the bounds, both included."""

    def parse(raw: str) -> Any:
        try:
            value = kind(raw)
        except ValueError:
            raise ValueError("must be a number") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"must be between {minimum:g} and {maximum:g}")
        return value

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser of one of these words."""

    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return raw

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """Return a parser of a URL with one of these schemes."""

    def parse(raw: str) -> str:
        if urlsplit(raw).scheme not in schemes:
            raise ValueError(f"must be a URL that starts with {' or '.join(s + '://' for s in schemes)}")
        return raw

    return parse


def locations(raw: str) -> dict[str, str]:
    """Parse `name=url,name=url`, or one bare path or URL for the location `local_us`."""
    found: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in raw.split(","))):
        name, separator, url = part.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            name, url = "local_us", part
        try:
            parse_storage_url(url)
        except BadInput as error:
            raise ValueError(f"location {name}: {error}") from None
        if name in found:
            raise ValueError(f"location {name} is given twice")
        found[name] = url
    if not found:
        raise ValueError("names no location")
    return found


def _as_value(check: Callable[[str], object], raw: str) -> str:
    try:
        check(raw)
    except BadInput as error:
        raise ValueError(str(error)) from None
    return raw


def window(raw: str) -> str:
    """Accept times of day that `model.window` can read."""
    parse_window(raw)
    return raw


def database_url(raw: str) -> str:
    """Accept a URL of PostgreSQL that libpq can read."""
    return _as_value(dsn.parse, raw)


def broker(raw: str) -> str:
    """Accept a URL of a Redis, of Sentinels, or of RabbitMQ."""
    if raw.partition("://")[0] not in urls.BROKERS:
        hint = (
            "; Sentinels: redis+sentinel://host:26379,host:26379/mymaster/0" if raw[:8] == "sentinel" else ""
        )
        raise ValueError(f"must start with {', '.join(f'{name}://' for name in urls.BROKERS)}{hint}")
    return _as_value(urls.for_kombu, raw)


def redis_server(raw: str) -> str:
    """Accept a URL of a Redis or of Sentinels, but not of a cluster."""
    return _as_value(urls.check_redis, raw)


def cache(raw: str) -> str:
    """Accept a URL of any Redis, `memory://` or `none://`."""
    return raw if raw.partition("://")[0] in ("memory", "none") else _as_value(redis_url.parse, raw)


def base64_key(raw: str) -> str:
    """Accept a key in base64."""
    try:
        base64.b64decode(raw, validate=True)
    except binascii.Error:
        raise ValueError("must be base64") from None
    return raw
