"""Times and durations as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from worker.human import when as when

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,7})([smhdw])")


def parse_duration_ms(text: str) -> int:
    """`90m`, `12h`, `3d` or `2w` in milliseconds; raises `click.UsageError`."""
    parts = _DURATION.fullmatch(text)
    if not parts:
        raise click.UsageError(f"{text!r} is not a duration: write 90m, 12h, 3d or 2w")
    return int(timedelta(**{_UNITS[parts[2]]: int(parts[1])}) / timedelta(milliseconds=1))


def parse_moment_ms(text: str) -> int:
    """An ISO 8601 time, UTC unless it says otherwise, in milliseconds; raises `click.UsageError`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is not a time: write 2027-01-31T12:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def parse_until_ms(text: str, *, now_ms: int) -> int:
    """A duration from now on, or a time."""
    return now_ms + parse_duration_ms(text) if _DURATION.fullmatch(text) else parse_moment_ms(text)
