"""`dredge status`."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import NoReturn

import click

from worker.cli import options, output
from worker.cli.sections import failing, freed, late, limits, stops, vacuum, waiting
from worker.cli.sections.section import Section
from worker.jobs.overview import read_overview
from worker.settings import Settings

# Each module reads one section; they are shown in this order.
SECTIONS = (stops.read, late.read, limits.read, waiting.read, freed.read, failing.read, vacuum.read)


@click.command(name="status")
@options.json_object
@click.option(
    "--hours",
    default=24,
    show_default=True,
    type=click.IntRange(1),
    help="Sum what was freed in these hours.",
)
@click.option(
    "--watch",
    "watch_s",
    is_flag=False,
    flag_value=2,
    type=click.IntRange(1),
    metavar="[SECONDS]",
    help="Show it again every 2 (or so many) seconds, until Ctrl-C.",
)
def command(as_json: bool, hours: int, watch_s: int | None) -> None:
    """Show holds, the backlog, the longest wait, failures, and what was freed, by namespace.

    Only the first 5,000 repositories are searched for garbage (dredge due searches all). The time left is
    computed from the work of the last hour.
    """
    settings = output.settings()
    if not watch_s:
        with output.connected(settings):
            _show(_read(settings, hours), as_json)
        return
    # A signal is the normal end of a watch, not a failure.
    with suppress(KeyboardInterrupt):
        _watch(settings, hours, as_json, watch_s)


def _watch(settings: Settings, hours: int, as_json: bool, watch_s: int) -> NoReturn:
    while True:
        with output.connected(settings):
            sections = _read(settings, hours)
        if not as_json:
            click.clear()
        _show(sections, as_json)
        time.sleep(watch_s)


def _read(settings: Settings, hours: int) -> list[Section]:
    overview = read_overview(settings.policy, hours=hours)
    return [read(overview) for read in SECTIONS]


def _show(sections: list[Section], as_json: bool) -> None:
    if as_json:
        output.emit_json({key: value for section in sections for key, value in section.facts.items()})
        return
    for section in sections:
        if section.show():
            click.echo()
