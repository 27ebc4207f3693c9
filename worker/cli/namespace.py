"""`dredge namespace`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model import registry
from model.names import parse_namespace
from worker import wiring
from worker.cli import deletions, options, output, tables
from worker.jobs import deletions as jobs


@click.group(name="namespace")
def command() -> None:
    """Delete namespaces, and restore them before they are purged."""


@command.command(short_help="Mark a namespace for deletion.")
@click.argument("namespace")
@options.without_asking
@options.json_lines
def delete(namespace: str, yes: bool, as_json: bool) -> None:
    """Delete a namespace with its repositories; it can be restored for DREDGE_PURGE_GRACE_S seconds.

    Its robots, teams and applications stay until then; nobody can log in or pull meanwhile.
    """
    settings = output.settings()
    name = parse_namespace(namespace)
    with output.connected(settings):
        if not yes:
            question = f"{name} {deletions.restorable_for(settings)}. Delete it and all its repositories?"
            output.confirm(question, as_json=as_json)
        deleted = jobs.delete_namespace(wiring.in_process(settings), name)
    output.say(as_json, asdict(deleted), f"deleted {name}; to undo it: dredge namespace restore {name}")


@command.command(short_help="Undo a deletion.")
@click.argument("namespace")
@click.option("--as", "new_name", metavar="NAME", help="Restore it under another name.")
@options.json_lines
def restore(namespace: str, new_name: str | None, as_json: bool) -> None:
    """Restore a deleted namespace with its repositories, robots and teams.

    Robots, teams and applications that Quay itself removed with the namespace are not restored.  After its
    purge has begun, a namespace cannot be restored.
    """
    settings = output.settings()
    with output.connected(settings):
        restored = jobs.restore_namespace(wiring.in_process(settings), namespace, new_name=new_name)
    text = f"restored {restored.name}; what Quay removed at the deletion did not come back"
    output.say(as_json, asdict(restored), text)


@command.command(name="list", short_help="List deleted namespaces, latest first.")
@click.option("--deleted", is_flag=True, required=True, help="List those that are marked for deletion.")
@options.limit(1000)
@options.json_lines
def list_(deleted: bool, limit: int, as_json: bool) -> None:
    """List deleted namespaces, and until when each one can be restored."""
    settings = output.settings()
    with output.connected(settings):
        found = registry.list_deleted_namespaces(limit=limit)
    if as_json:
        for each in found:
            output.emit_json(asdict(each))
    else:
        columns = ("namespace", "deleted", "restorable until", "error")
        tables.table(columns, [(each.name, *deletions.row(each, settings)) for each in found])
