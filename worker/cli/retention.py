"""`dredge retention`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TextIO

import click

from model.retention.audit import list_ended_tags
from model.retention.file import parse_policy_file
from model.retention.find import list_problems
from worker import wiring
from worker.cli import output, repositories, tables
from worker.cli.times import when
from worker.jobs.retain import retain_repository, retention_policy

TURN_S = 5.0


@click.group(name="retention")
def command() -> None:
    """Run retention rules, and list the tags that they ended."""


@command.command(short_help="Run the rules on repositories now.")
@click.argument("repository", nargs=-1, required=True, type=repositories.REPOSITORY)
@click.option("--policy", "file", type=click.Path(exists=True), help="Rules of this file instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a repository.")
def run(repository: tuple[str, ...], file: str | None, as_json: bool) -> None:
    """End the tags that the rules select in repositories (namespace/name); they stay restorable."""
    settings = output.settings()
    if file is not None:
        settings = replace(settings, retention_file=file)
    policy = retention_policy(settings)
    with output.connected(settings):
        context = wiring.in_process(settings)
        for where in repositories.find(repository):
            ended = warned = 0
            more = True
            while more:
                turn = retain_repository(context, where.id, budget_s=TURN_S, policy=policy)
                ended, warned, more = ended + turn.ended, warned + turn.warned, turn.has_more
            if as_json:
                facts = {"repository": where.path, "ended": ended, "warned": warned}
                output.emit_json({**facts, "problems": turn.problems})
            else:
                click.echo(f"{where.path}: {ended:,} tags ended, {warned:,} announced")


@command.command(short_help="Tags that rules ended, latest first.")
@click.argument("repository", required=False, type=repositories.REPOSITORY)
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="Maximum rows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def audit(repository: str | None, limit: int, as_json: bool) -> None:
    """List the tags that were ended, by which rule, and until when each one can be restored."""
    with output.connected(output.settings()):
        where = repositories.find([repository])[0].id if repository else 0
        found = list_ended_tags(where, limit=limit)
    if as_json:
        for each in found:
            output.emit_json(asdict(each))
    else:
        rows = [
            (f"{e.repository}:{e.tag}", e.rule, e.author, when(e.ended_ms), when(e.restorable_until_ms))
            for e in found
        ]
        tables.table(("tag", "rule", "by", "ended", "restorable until"), rows)


@command.command(short_help="Policies that were skipped, and why.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="Maximum rows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def problems(limit: int, as_json: bool) -> None:
    """List the repositories in which a policy could not run; exit 1 if there is one."""
    with output.connected(output.settings()):
        found = list_problems(limit=limit)
    if as_json:
        for each in found:
            output.emit_json(asdict(each))
    else:
        rows = [(each.repository, when(each.last_ran_ms), each.problems) for each in found]
        tables.table(("repository", "last run", "problem"), rows)
    if found:
        raise SystemExit(1)


@command.command(short_help="Check a file of rules.")
@click.argument("file", type=click.File(encoding="utf-8"))
def check(file: TextIO) -> None:
    """Check a file of retention rules, and print every mistake with its line and the rule's name."""
    rules = parse_policy_file(file.read())
    click.echo(f"{len(rules):,} rules")
