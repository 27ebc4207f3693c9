"""Compute a bar chart of the bytes freed per day, for a picture without scripts and styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.gc.inspect.daily import Day

WIDTH, HEIGHT, GAP = 600, 120, 4


@dataclass(frozen=True)
class Bar:
    """One day: the position and height of its bar, and its text."""

    day: Day
    x: float
    y: float
    width: float
    height: float


def bars(days: Sequence[Day]) -> list[Bar]:
    """Return one bar per day.  The highest is as high as the picture; a small one stays visible."""
    most = max((day.bytes for day in days), default=0) or 1
    step = WIDTH / max(len(days), 1)
    made = []
    for number, day in enumerate(days):
        height = max(2.0, HEIGHT * day.bytes / most) if day.bytes else 0.0
        made.append(
            Bar(day, round(number * step, 1), round(HEIGHT - height, 1), round(step - GAP, 1), height)
        )
    return made
