"""The settings of when, and how fast, garbage is removed."""

from __future__ import annotations

from dataclasses import dataclass

from worker.environment import setting
from worker.parsers import number, window

_MOST = 1_000_000_000


@dataclass(frozen=True)
class PaceSettings:
    """The settings that bound all workers together."""

    window: str = setting(
        "",
        window,
        "times of day at which anything is removed: `22:00-06:00 Europe/Berlin`; empty: at any time",
    )
    fleet_rows_per_s: int = setting(
        0, number(0, _MOST), "rows deleted per second by all workers together at most; 0: no limit"
    )
    fleet_objects_per_s: int = setting(
        0, number(0, _MOST), "objects erased per second by all workers together at most; 0: no limit"
    )
    fleet_bytes_per_s: int = setting(
        0, number(0, 1000 * _MOST), "bytes erased per second by all workers together at most; 0: no limit"
    )
    throttle_lag_s: float = setting(
        0.0, number(0, 86_400, float), "wait while a standby is so many seconds behind; 0: never"
    )
    throttle_sessions: int = setting(
        0, number(0, 1_000_000), "wait while more sessions than this are active in the database; 0: never"
    )
