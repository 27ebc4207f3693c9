"""The window: days, midnight, zones, and the nights on which clocks change."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from model.window import ALWAYS, parse_window

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp() * 1000)


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        ("22:00-06:00 Europe/Berlin", "2027-03-10T21:59", False),
        ("22:00-06:00 Europe/Berlin", "2027-03-10T22:00", True),
        ("22:00-06:00 Europe/Berlin", "2027-03-11T05:59", True),
        ("22:00-06:00 Europe/Berlin", "2027-03-11T06:00", False),
        ("22:00-06:00", "2027-03-10T22:30", False),  # 21:30 in UTC
        ("Mon-Fri 22:00-06:00 Europe/Berlin", "2027-03-13T05:00", True),  # Saturday, begun on Friday
        ("Mon-Fri 22:00-06:00 Europe/Berlin", "2027-03-15T05:00", False),  # Monday, begun on Sunday
        ("Mon-Fri 22:00-06:00, Sat-Sun 00:00-24:00 Europe/Berlin", "2027-03-14T13:00", True),
        ("Fri-Mon 01:00-02:00 Europe/Berlin", "2027-03-14T01:30", True),
        ("Sat 00:00-24:00 Europe/Berlin", "2027-03-14T00:00", False),
    ],
)
def test_a_window_is_open_at_its_times(window: str, moment: str, is_open: bool) -> None:
    assert parse_window(window).is_open(at(moment)) is is_open


def test_an_hour_that_the_clock_skips_does_not_open_the_window_and_one_that_comes_twice_opens_it_twice() -> (
    None
):
    window = parse_window("02:00-03:00 Europe/Berlin")
    before = at("2027-03-28T01:59")
    assert [window.is_open(before + minutes * 60_000) for minutes in (0, 1, 60)] == [False] * 3
    twice = [at("2027-10-31T02:30"), at("2027-10-31T02:30", fold=1)]
    assert twice[1] - twice[0] == 3_600_000 and all(map(window.is_open, twice))
    night = parse_window("22:00-06:00 Europe/Berlin")
    hours = range(at("2027-03-27T12:00"), at("2027-03-28T12:00"), 3_600_000)
    assert sum(map(night.is_open, hours)) == 7  # of eight, one does not exist
    hours = range(at("2027-10-30T12:00"), at("2027-10-31T12:00"), 3_600_000)
    assert sum(map(night.is_open, hours)) == 9


def test_a_window_says_when_it_changes_next() -> None:
    window = parse_window("Sat 02:30-03:30 Europe/Berlin")
    assert window.next_change_ms(at("2027-03-14T12:00:31")) == at("2027-03-20T02:30")
    assert window.next_change_ms(at("2027-03-20T02:30")) == at("2027-03-20T03:30")
    # On that night 02:30 does not exist: it opens at 03:00.
    assert parse_window("Sun 02:30-03:30 Europe/Berlin").next_change_ms(at("2027-03-28T01:00")) == at(
        "2027-03-28T03:00"
    )
    assert ALWAYS.is_open(0) and ALWAYS.next_change_ms(0) is None
    assert parse_window("00:00-24:00").next_change_ms(0) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("22-06", "'22-06' is not a time span"),
        ("22:00-22:00", "it ends where it begins"),
        ("25:00-06:00", "25:00 is not a time of day"),
        ("Mon-Fru 22:00-06:00", "Fru is not a day"),
        ("22:00-06:00 Europe/Atlantis", "Europe/Atlantis is not a time zone"),
        ("22:00-06:00 ../etc/passwd", "../etc/passwd is not a time zone"),
        ("22:00-06:00,", "'' is not a time span"),
    ],
)
def test_a_window_that_makes_no_sense_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError) as wrong:
        parse_window(text)
    assert says in str(wrong.value)
