"""`dredge retention`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TextIO

import click
import yaml

from model.human import counted
from model.retention.audit import list_ended_tags
from model.retention.file import parse_policy_file
from model.retention.find import list_problems
from model.retention.stored import list_rules, remove_rules, store_rules
from worker import wiring
from worker.cli import options, output, repositories, tables
from worker.cli.pause import author
from worker.cli.times import when
from worker.jobs.retain import retain_repository, retention_policy
from worker.spelling import did_you_mean, nearest

TURN_S = 5.0


@click.group(name="retention")
def command() -> None:
    """Set and run retention rules, and list the tags that they ended."""


@command.command(short_help="Run the rules on repositories now.")
@click.argument("repository", nargs=-1, required=True, type=repositories.REPOSITORY)
@click.option("--policy", "file", type=click.Path(exists=True), help="Use the rules of this file instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per repository.")
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
                click.echo(f"{where.path}: {counted(ended, 'tag')} ended, {warned:,} announced")


@command.command(short_help="List the tags that rules ended, latest first.")
@click.argument("repository", required=False, type=repositories.REPOSITORY)
@options.limit(1000)
@options.json_lines
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


@command.command(short_help="List policies that were skipped, and why.")
@options.limit(1000)
@options.json_lines
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


def _in_a_line(rule: str) -> str:
    """Return the keys of a rule besides its name; the text as it is if it is no YAML."""
    try:
        found = yaml.safe_load(rule)
    except yaml.YAMLError:
        return " ".join(rule.split())
    if not isinstance(found, dict):
        return " ".join(rule.split())
    rest = {key: value for key, value in found.items() if key != "name"}
    line: str = yaml.safe_dump(rest, default_flow_style=True, sort_keys=False, width=10_000)
    return line.strip("{}\n")


@command.command(short_help="Rules in the database.")
@options.json_lines
def rules(as_json: bool) -> None:
    """List the rules in the database, by name; exit 1 if one is not valid.

    The rules of DREDGE_RETENTION_FILE hold as well, and replace those of the same name.
    """
    with output.connected(output.settings()):
        found = list_rules()
    if as_json:
        for each in found:
            output.emit_json(asdict(each))
    else:
        rows = [
            (each.name, _in_a_line(each.rule), each.author, when(each.changed_ms), each.problem)
            for each in found
        ]
        tables.table(("name", "rule", "by", "changed", "problem"), rows)
    if invalid := [each.name for each in found if each.problem]:
        output.fail(f"not valid: {', '.join(invalid)}; set them again, or remove them")


@command.command(name="set", short_help="Write rules to the database.")
@click.argument("file", type=click.File(encoding="utf-8"))
@options.json_object
def set_(file: TextIO, as_json: bool) -> None:
    """Write the rules of a file (- for standard input) to the database, for all workers.

    A rule of the same name is replaced, others stay.  If one has a mistake, nothing is written.  See first
    what would end: `dredge plan --policy FILE`.
    """
    with output.connected(output.settings()):
        names = store_rules(file.read(), author=author())
    output.say(as_json, {"rules": names}, f"set: {', '.join(names) or 'nothing'}")


@command.command(short_help="Remove rules from the database.")
@click.argument("name", nargs=-1, required=True)
@options.json_object
def remove(name: tuple[str, ...], as_json: bool) -> None:
    """Remove rules from the database by their names; the tags that they ended stay ended."""
    with output.connected(output.settings()):
        known = {each.name for each in list_rules()}
        if unknown := [each for each in name if each not in known]:
            advice = did_you_mean(nearest(unknown[0], known), otherwise=": see dredge retention rules")
            output.fail(f"no stored rule is called {', '.join(unknown)}{advice}")
        remove_rules(list(name))
    output.say(as_json, {"rules": name}, f"removed: {', '.join(name)}")


@command.command(short_help="Check a file of rules.")
@click.argument("file", type=click.File(encoding="utf-8"))
@options.json_object
def check(file: TextIO, as_json: bool) -> None:
    """Check a file of retention rules, and print every mistake with its line and the rule's name."""
    found = parse_policy_file(file.read())
    names = [each.name for each in found]
    output.say(as_json, {"rules": names}, f"{counted(len(found), 'rule')}, no mistakes")
