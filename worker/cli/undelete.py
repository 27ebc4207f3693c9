"""`dredge undelete`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model.names import parse_digest
from worker import wiring
from worker.cli import options, output, repositories
from worker.cli.times import when
from worker.jobs.undelete import Undeleted, undelete

_WHAT_TO_DO = "push its image again and it goes back, or name a repository that it is held for: --repository"


@click.command(name="undelete")
@click.argument("digest")
@click.option(
    "--repository",
    type=repositories.REPOSITORY,
    help="Hold the blob for this repository, as a push does, until its manifest is pushed.",
)
@options.json_lines
def command(digest: str, repository: str | None, as_json: bool) -> None:
    """Put an object back from the trash if a row references it.

    If nothing references it, nothing changes and the exit code is 1, because an object without a row would
    be garbage again.  With --repository, a row is written, which lasts for DREDGE_PUSH_TTL_S.
    """
    settings = output.settings()
    output.require(settings, "storage")
    checked = parse_digest(digest)
    with output.connected(settings):
        where = repositories.find([repository])[0].id if repository else None
        found = undelete(wiring.in_process(settings), checked, repository_id=where)
    for each in found:
        if as_json:
            output.emit_json(asdict(each))
        elif each.is_back:
            output.line(f"{each.digest} is back at {each.location}.")
    if left := [each for each in found if not each.is_back]:
        output.fail(_left(left[0]))


def _left(found: Undeleted) -> str:
    stays = f"it stays in the trash of {found.location} until {when(found.purge_ms)}"
    return f"nothing refers to {found.digest}: {stays}; {_WHAT_TO_DO}"
