"""The times of day at which anything may be removed, in a time zone.  Pure: the caller passes the time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?"
    r"(?P<start>\d\d:[0-5]\d)-(?P<end>\d\d:[0-5]\d)",
    re.IGNORECASE,
)
_MINUTES = 24 * 60
_MINUTE_MS = 60_000
# Every window opens within a week; a change of the clock may move that by one day.
_SEARCH_MINUTES = 8 * _MINUTES


@dataclass(frozen=True)
class Span:
    """From `start` to `end` (minutes of the day) on the days on which it begins; it may pass midnight."""

    days: frozenset[int]
    start: int
    end: int

    def holds(self, day: int, minute: int) -> bool:
        """Return whether it is on at that minute of that day of the week (0: Monday)."""
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or (
            (day - 1) % 7 in self.days and minute < self.end
        )


@dataclass(frozen=True)
class Window:
    """Open while the local clock shows a time of one of its spans; without spans always.

    So at a change of the clock a skipped hour does not open it, and a repeated hour opens it twice.
    """

    text: str = ""
    spans: tuple[Span, ...] = ()
    zone: tzinfo = UTC

    def is_open(self, now_ms: int) -> bool:
        """Return whether anything may be removed at this time."""
        if not self.spans:
            return True
        local = datetime.fromtimestamp(now_ms / 1000, self.zone)
        minute = local.hour * 60 + local.minute
        return any(span.holds(local.weekday(), minute) for span in self.spans)

    def next_change_ms(self, now_ms: int) -> int | None:
        """Return when it closes, or opens if it is closed, in ms; None if it never changes."""
        state = self.is_open(now_ms)
        start_ms = now_ms // _MINUTE_MS * _MINUTE_MS
        if self.spans:
            for minutes in range(1, _SEARCH_MINUTES):
                if self.is_open(start_ms + minutes * _MINUTE_MS) is not state:
                    return start_ms + minutes * _MINUTE_MS
        return None


ALWAYS = Window()


def parse_window(text: str) -> Window:
    """Spans, then a zone (default UTC): `Mon-Fri 22:00-06:00, Sat-Sun 00:00-24:00 Europe/Berlin`.

    Raises `ValueError` that says what is wrong.
    """
    spans, _, zone = text.strip().rpartition(" ")
    if not spans or _SPAN.fullmatch(zone):
        spans, zone = text.strip(), "UTC"
    return Window(text.strip(), tuple(_span(part.strip()) for part in spans.split(",")), _zone(zone))


def _span(text: str) -> Span:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time span: write 22:00-06:00 or Mon-Fri 22:00-06:00")
    start, end = _minutes(found["start"]), _minutes(found["end"])
    if start in (end, _MINUTES):
        raise ValueError(f"{text!r} is not a time span: it ends where it begins")
    return Span(_days(found["first"], found["last"]), start, end)


def _minutes(clock: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    if hours * 60 + minutes > _MINUTES:
        raise ValueError(f"{clock} is not a time of day")
    return hours * 60 + minutes


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    try:
        start, end = _DAYS.index(first.lower()), _DAYS.index((last or first).lower())
    except ValueError:
        raise ValueError(f"{last or first} is not a day: write Mon, Tue, Wed, Thu, Fri, Sat or Sun") from None
    return frozenset((start + n) % 7 for n in range((end - start) % 7 + 1))


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name} is not a time zone: write Europe/Berlin or UTC") from None
