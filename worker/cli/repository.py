"""`dredge repository`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model import registry
from model.names import parse_namespace, parse_repository
from model.registry.deletions import LOST_WITH_REPOSITORY
from worker import wiring
from worker.cli import deletions, options, output, repositories, tables
from worker.jobs import deletions as jobs


@click.group(name="repository")
def command() -> None:
    """Delete repositories, and restore them before they are purged."""


@command.command(short_help="Mark a repository for deletion.")
@click.argument("repository", type=repositories.REPOSITORY)
@options.without_asking
@options.json_lines
def delete(repository: str, yes: bool, as_json: bool) -> None:
    """Delete a repository (namespace/name); it can be restored for DREDGE_PURGE_GRACE_S seconds."""
    settings = output.settings()
    path = str(parse_repository(repository))
    with output.connected(settings):
        registry.get_repository(path)
        if not yes:
            question = (
                f"{path} {deletions.restorable_for(settings)}, but for {LOST_WITH_REPOSITORY}. Delete it?"
            )
            output.confirm(question, as_json=as_json)
        deleted = jobs.delete_repository(wiring.in_process(settings), path)
    output.say(as_json, asdict(deleted), f"deleted {path}; to undo it: dredge repository restore {path}")


@command.command(short_help="Undo a deletion.")
@click.argument("repository", type=repositories.REPOSITORY)
@click.option("--as", "name", metavar="NAME", help="Restore it under another name in its namespace.")
@options.json_lines
def restore(repository: str, name: str | None, as_json: bool) -> None:
    """Restore a deleted repository (namespace/name) with its tags, manifests and permissions.

    Restores the latest one that was deleted under this name.  After its purge has begun, a repository
    cannot be restored.
    """
    settings = output.settings()
    with output.connected(settings):
        path = str(parse_repository(repository))
        restored = jobs.restore_repository(wiring.in_process(settings), path, name=name)
    output.say(
        as_json, asdict(restored), f"restored {restored.path}; {LOST_WITH_REPOSITORY} did not come back"
    )


@command.command(name="list", short_help="List deleted repositories, latest first.")
@click.argument("namespace", required=False)
@click.option("--deleted", is_flag=True, required=True, help="List those that are marked for deletion.")
@options.limit(1000)
@options.json_lines
def list_(namespace: str | None, deleted: bool, limit: int, as_json: bool) -> None:
    """List deleted repositories (of a namespace), and until when each one can be restored."""
    settings = output.settings()
    with output.connected(settings):
        wanted = None if namespace is None else parse_namespace(namespace)
        found = registry.list_deleted_repositories(wanted, limit=limit)
    if as_json:
        for each in found:
            output.emit_json(asdict(each))
    else:
        columns = ("repository", "deleted", "restorable until", "error")
        rows = [(each.path, *deletions.row(each, settings)) for each in found]
        tables.table(columns, rows)
