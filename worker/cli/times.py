"""Parse times and durations as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from model.human import when as when

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,7})([smhdw])")


def parse_duration_ms(text: str) -> int:
    """Parse `90m`, `12h`, `3d` or `2w` into milliseconds.  Raises `click.UsageError`."""
    parts = _DURATION.fullmatch(text)
    if not parts:
        raise click.UsageError(f"{text!r} is not a duration: write 90m, 12h, 3d or 2w")
    return int(timedelta(**{_UNITS[parts[2]]: int(parts[1])}) / timedelta(milliseconds=1))


def parse_moment_ms(text: str) -> int:
    """Parse an ISO 8601 time, in UTC by default, into milliseconds.  Raises `click.UsageError`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is not a time: write 2027-01-31T12:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def parse_until_ms(text: str, *, now_ms: int) -> int:
    """Parse a duration from now on, or a time, into the time in milliseconds."""
    return now_ms + parse_duration_ms(text) if _DURATION.fullmatch(text) else parse_moment_ms(text)
