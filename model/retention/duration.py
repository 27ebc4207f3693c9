"""Ages in the notation of policies."""

from __future__ import annotations

import re

_AGE = re.compile(r"(\d{1,7})([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def parse_age_ms(text: str) -> int:
    """Read `30m`, `12h`, `5d`, `2w` or `1y` (365 days).  Returns milliseconds.  Raises `ValueError`."""
    parts = _AGE.fullmatch(text)
    if not parts or not int(parts[1]):
        raise ValueError(f"{text!r} is not an age: write 12h, 5d, 2w or 1y")
    return int(parts[1]) * _SECONDS[parts[2]] * 1000
