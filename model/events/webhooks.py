"""Webhooks: the endpoints, and which events each of them receives."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from model.db.clock import now_ms
from model.db.connection import execute, fetch, transaction
from model.errors import BadInput
from model.events import record as events

ALL = "*"
PREFIX = "registry."

# The default types, for operators.  Changes of tags are sent only to webhooks that name these types.
USUAL = (
    events.REPOSITORY_COLLECTED,
    events.BLOB_ERASED,
    events.BREAKER_OPENED,
    events.LOCATION_SUSPENDED,
    events.WORK_FAILING,
    events.TAG_EXPIRING,
    events.REPOSITORY_PURGED,
    events.NAMESPACE_PURGED,
)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

_ADD = """
INSERT INTO dredge_webhook (name, url, types, created_ms) VALUES (%(name)s, %(url)s, %(types)s, %(now_ms)s)
ON CONFLICT (name) DO UPDATE SET url = excluded.url, types = excluded.types
"""

_LIST = """
SELECT w.name, w.url, w.types,
       (SELECT count(*) FROM dredge_delivery d WHERE d.webhook = w.name AND d.dead_ms IS NULL) AS waiting,
       (SELECT count(*) FROM dredge_delivery d WHERE d.webhook = w.name AND d.dead_ms IS NOT NULL) AS dead
FROM dredge_webhook w ORDER BY w.name
"""


@dataclass(frozen=True)
class Webhook:
    """An endpoint, the types that it receives (`*`: all), and its deliveries that wait or were given up."""

    name: str
    url: str
    types: tuple[str, ...]
    waiting: int
    dead: int


def add_webhook(name: str, url: str, patterns: Sequence[str] = ()) -> tuple[str, ...]:
    """Send events of these types to `url` from now on; replaces a webhook of that name.  Returns the types.

    A pattern is a type without `registry.`, and may have `*`; without patterns it receives the default types.
    Raises `BadInput`.
    """
    if not _NAME.fullmatch(name):
        raise BadInput("A webhook's name must have 1 to 64 letters, digits, dots, hyphens and underscores")
    types = (ALL,) if ALL in patterns else _matching(patterns) if patterns else USUAL
    params = {"name": name, "url": checked_url(url), "types": " ".join(types), "now_ms": now_ms()}
    execute(_ADD, params)
    return types


def checked_url(url: str) -> str:
    """Return the URL if its form allows sending events to it.  Raises `BadInput` if not."""
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or len(url) > 2000 or not url.isascii() or not url.isprintable() or " " in url:
        raise BadInput("A webhook's address must be a URL that starts with https://")
    if parts.username is not None or parts.password is not None:
        raise BadInput("A webhook's address must not contain a password: requests are signed instead")
    return url


def _matching(patterns: Sequence[str]) -> tuple[str, ...]:
    values = [str(value) for name, value in vars(events).items() if name.isupper()]
    known = [value for value in values if value.startswith(PREFIX)]
    found: set[str] = set()
    for pattern in patterns:
        full = PREFIX + pattern.removeprefix(PREFIX)
        matching = fnmatch.filter(known, full)
        if not matching:
            raise BadInput(f"No event type matches {pattern}: see docs/reference/events.md")
        found.update(matching)
    return tuple(sorted(found))


def remove_webhook(name: str) -> bool:
    """Delete a webhook and its deliveries; False if there is none."""
    with transaction():
        # Safe: deliveries are copies of events; the events themselves and other webhooks' copies stay.
        execute("DELETE FROM dredge_delivery WHERE webhook = %s", (name,))
        return bool(execute("DELETE FROM dredge_webhook WHERE name = %s", (name,)))


def list_webhooks() -> list[Webhook]:
    """Return every webhook, by name; only reads."""
    return [Webhook(r.name, r.url, tuple(r.types.split()), r.waiting, r.dead) for r in fetch(_LIST)]
