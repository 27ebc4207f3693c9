"""`dredge plan`."""

from __future__ import annotations

from dataclasses import asdict, replace

import click

from model.gc.inspect.plan import Plan
from model.human import counted
from model.policy import Policy
from model.purge.plan import plan_purges
from worker.cli import output, plan_policy, repositories, tables
from worker.jobs.plan import Planned, all_due, plan_each, total


@click.command(name="plan")
@click.argument("repository", required=False, type=repositories.REPOSITORY)
@click.option(
    "--policy",
    "file",
    type=click.Path(exists=True),
    help="Show the tags that the rules of this file would end.",
)
@click.option("--csv", "as_csv", is_flag=True, help="With --policy: comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, the total last.")
def command(repository: str | None, file: str | None, as_csv: bool, as_json: bool) -> None:
    """Show what a collection would remove, by the collector's own rules; writes nothing.

    REPOSITORY is namespace/name; without it, all repositories with garbage, and all deleted ones whose
    grace is over.  With --policy: the tags that retention rules, saved or not, would end now, and what is
    freed after the tags' recovery window has closed.

    A repository may be due although nothing would be removed: a recorded candidate lives, or a failed attempt
    is to be cleared.  The last line counts such repositories.
    """
    settings = output.settings()
    if as_csv and file is None:
        raise click.UsageError("--csv needs --policy")
    if file is not None:
        with output.connected(settings):
            wanted = repositories.find([repository] if repository else [])
            plan_policy.show(settings, file, wanted, "csv" if as_csv else "json" if as_json else "table")
        return
    with output.connected(settings):
        plans, sums, idle = _plan(settings.policy, repository)
    plans = [plan for plan in plans if not plan.is_empty]
    for plan in plans:
        _show(plan, as_json=as_json, whole=repository is not None)
    if as_json:
        output.emit_json(asdict(sums) | {"due_without_garbage": idle})
    else:
        if repository is None:
            rows = [(plan.scope.full_name, len(plan.tags), len(plan.digests), plan.uploads) for plan in plans]
            tables.table(("repository", "tags", "manifests", "uploads"), rows)
        click.echo(
            f"would be removed: {counted(sums.tags, 'tag')} and {counted(sums.manifests, 'manifest')} of"
            f" {counted(sums.repositories, 'repository')},{_uploads(sums.uploads)}"
            f" {counted(sums.blobs, 'blob')} ({tables.human_bytes(sums.bytes)})"
        )
        if idle:
            click.echo(f"due without garbage: {counted(idle, 'repository')}")


def _plan(policy: Policy, repository: str | None) -> tuple[list[Plan], Planned, int]:
    """Return the plans of one repository, or of all that are due, their total, and how many are due idly."""
    named = repositories.find([repository] if repository else [])
    ids = [found.id for found in named] or all_due(policy)
    plans = []
    with output.progress("planning", len(ids)) as advance:
        for plan in plan_each(ids, policy):
            plans.append(plan)
            advance(1)
    purges = plan_purges(policy=policy) if repository is None else []
    sums = total([*plans, *purges])
    # A purge removes the repository itself, so an empty one counts as well.
    empty = sum(plan.is_empty for plan in purges)
    idle = sum(plan.is_empty for plan in plans) if repository is None else 0
    return [*plans, *purges], replace(sums, repositories=sums.repositories + empty), idle


def _uploads(number: int) -> str:
    return f" {counted(number, 'expired or unfinished upload')}," if number else ""


def _show(plan: Plan, *, as_json: bool, whole: bool) -> None:
    name = plan.scope.full_name
    tags = [f"{name}:{tag}" for tag in plan.tags]
    manifests = [f"{name}@{digest}" for digest in plan.digests]
    if as_json:
        output.emit_json({"repository": name, "tags": tags, "manifests": manifests, "uploads": plan.uploads})
    elif whole:
        for line in (*tags, *manifests):
            output.line(line)
