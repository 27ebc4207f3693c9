"""`dredge plan --policy`: show the tags that retention rules would end, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import replace

import click

from model.human import counted
from model.repository import Repository
from model.retention.find import find_ids
from model.retention.plan import RetentionPlan, plan_retention
from worker.cli import output, tables
from worker.cli.errors import say_problem
from worker.jobs.plan_policy import Sums, sum_up
from worker.jobs.retain import retention_policy
from worker.settings import Settings

COLUMNS = ("repository", "rule", "tags", "manifests", "blobs", "bytes")
SLICE = 5_000


def show(settings: Settings, file: str, repositories: list[Repository], form: str) -> None:
    """Print the tags that the rules of a file, and the enabled policies, would end; writes nothing."""
    retention = retention_policy(replace(settings, retention_file=file))
    ids = [where.id for where in repositories] or list(_all())
    plans: list[RetentionPlan] = []
    with output.progress("planning", len(ids)) as advance:
        for plan in plan_retention(ids, policy=settings.policy, retention=retention):
            plans.append(plan)
            advance(1)
    sums = sum_up(plans)
    plans = [plan for plan in plans if plan.by_rule or plan.problems]
    {"json": _as_json, "csv": _as_csv, "table": _as_table}[form](plans, sums)
    for plan in plans:
        for problem in plan.problems:
            say_problem(f"{plan.repository}: skipped: {problem}", as_json=form == "json")


def _all() -> Iterator[int]:
    after = 0
    while found := find_ids(after=after, limit=SLICE):
        yield from found
        after = found[-1]


def _rows(plans: list[RetentionPlan]) -> Iterator[tuple[str, str, int, int, int, int]]:
    for plan in plans:
        for rule in plan.by_rule:
            manifests = len(rule.manifest_ids)
            yield (plan.repository, rule.rule, len(rule.tags), manifests, rule.blobs, rule.bytes)


def _as_json(plans: list[RetentionPlan], sums: Sums) -> None:
    for plan in plans:
        for rule, row in zip(plan.by_rule, _rows([plan]), strict=True):
            tags = [f"{plan.repository}:{tag}" for tag in rule.tags]
            output.emit_json(dict(zip(COLUMNS, row, strict=True)) | {"tags": tags})
    output.emit_json(vars(sums))


def _as_csv(plans: list[RetentionPlan], sums: Sums) -> None:
    written = csv.writer(sys.stdout, lineterminator="\n")
    written.writerow(COLUMNS)
    written.writerows(_rows(plans))


def _as_table(plans: list[RetentionPlan], sums: Sums) -> None:
    rows = [(*row[:5], tables.human_bytes(row[5])) for row in _rows(plans)]
    tables.table(COLUMNS, rows)
    click.echo(
        f"would end: {counted(sums.tags, 'tag')} of {counted(sums.repositories, 'repository')};"
        f" after their recovery window would go: {counted(sums.manifests, 'manifest')}"
        f" and {counted(sums.blobs, 'blob')} ({tables.human_bytes(sums.bytes)})"
    )
