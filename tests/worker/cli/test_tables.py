"""Tables for people on a terminal, plain lines in a pipe; times and amounts in words."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from model.human import counted
from worker.cli import tables
from worker.cli.times import when

DIGEST = "sha256:" + "ab" * 32
STORY = f"""
from worker.cli.tables import table
rows = [("acme/app", 12000, "{DIGEST}", "x" * 300), ("b", 1, None, True)]
table(("repository", "tags", "manifest", "error"), rows)
"""


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "tag", "1 tag"),
        (0, "tag", "0 tags"),
        (1200, "repository", "1,200 repositories"),
        (2, "day", "2 days"),
        (2, "expired upload", "2 expired uploads"),
    ],
)
def test_an_amount_has_the_right_number(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def on_a_terminal(columns: int, story: str = STORY) -> list[str]:
    """What the story prints on a terminal of so many columns."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", story], stdout=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        process.wait()
    os.close(leader)
    return shown.decode().replace("\r", "").splitlines()


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal_a_row_is_one_line_and_digests_are_short(columns: int) -> None:
    lines = on_a_terminal(columns)
    assert len(lines) == 3
    assert all(len(line) <= columns for line in lines)
    assert "acme/app" in lines[1]
    assert "12,000" in lines[1]
    assert "sha256:" in lines[1]
    assert DIGEST not in lines[1]


NARROW = """
from worker.cli.tables import table
rows = [("acme/an-application-with-a-long-name", "2026-09-28 04:34:25 UTC", "7", "on hold: " + "x " * 40)]
table(("repository", "since", "tags", "why"), rows)
"""


def test_at_80_columns_a_sentence_is_cut_and_names_and_times_are_not() -> None:
    header, row = on_a_terminal(80, NARROW)
    assert "acme/an-application-with-a-long-name" in row
    assert "2026-09-28 04:34Z" in row
    assert "on hold" in row and row.rstrip().endswith("…")
    assert len(header) <= 80 and len(row) <= 80


def test_in_a_pipe_cells_are_whole_and_separated_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    tables.table(("repository", "tags", "manifest"), [("x" * 300, 12_000, DIGEST), ("b", 1, None)])
    assert capsys.readouterr().out.splitlines() == [
        "repository\ttags\tmanifest",
        f"{'x' * 300}\t12000\t{DIGEST}",
        "b\t1\t-",
    ]


def test_times_have_a_zone_and_no_time_is_out_of_range() -> None:
    assert when(None) is None
    assert when(0) == "1970-01-01 00:00:00 UTC"
    assert when(1_796_000_000_123) == "2026-11-30 00:53:20 UTC"
    assert when(2**62) == when(2**63 - 1) == "never"
    assert when(-(2**63)) == "always"


def test_bytes_and_durations_are_for_people() -> None:
    sizes = [tables.human_bytes(n) for n in (0, 1023, 1536, 3 * 1024**3)]
    assert sizes == ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
    assert [tables.human_ms(n) for n in (1500, 90_000, 7_500_000)] == ["1.5s", "1m 30s", "2h 5m"]
