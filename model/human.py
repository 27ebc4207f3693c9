"""Format amounts and times for people."""

from __future__ import annotations

from datetime import UTC, datetime

# The last millisecond that datetime can hold.
_LAST_MS = 253_402_300_799_999


def counted(number: int, noun: str) -> str:
    """Format an amount of things: `1 tag`, `2 tags`, `1,000 repositories`."""
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeou" else f"{noun}s"
    return f"{number:,} {noun}"


def human_bytes(n: float) -> str:
    """Format 1536 as `1.5 KiB`."""
    if abs(n) < 1024:
        return f"{int(n)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        n /= 1024
        if abs(n) < 1024:
            return f"{n:.1f} {unit}"
    return f"{n / 1024:.1f} PiB"


def human_ms(milliseconds: float) -> str:
    """Format 90000 as `1m 30s`."""
    seconds = int(milliseconds // 1000)
    if seconds < 60:
        return f"{milliseconds / 1000:.1f}s"
    for unit, size, lower, smaller in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // smaller}{lower}"
    return f"{seconds}s"


def when(ms: int | None) -> str | None:
    """Format a time as `2027-01-31 12:00:00 UTC`; None stays None.

    Times after the year 9999 are `never`, those before 1970 `always`; Quay's rows contain both.
    """
    if ms is None:
        return None
    if ms < 0:
        return "always"
    if ms > _LAST_MS:
        return "never"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
