"""`python -m bench.profile`: measure the time of each of the collector's statements in the server."""

from __future__ import annotations

import cProfile
import pstats
import re

import click
import psycopg2

from bench.collect import collect_all, context
from bench.contest import Run
from bench.lab import Lab, configured, isolated
from worker.cli.tables import table
from worker.local.sample import SHAPES
from worker.local.sample.shape import registry

_TOP = """
SELECT calls, total_exec_time + total_plan_time AS ms, total_plan_time AS plan_ms, rows, query
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = %s ORDER BY 2 DESC LIMIT %s
"""


def profiled(url: str, path: str) -> None:
    """Run the collector under Python's profiler."""
    tools = context()
    with configured(url):
        profiler = cProfile.Profile()
        profiler.runcall(collect_all, tools)
        profiler.dump_stats(path)


@click.command()
@click.option("--manifests", default=10_000, show_default=True)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="registry")
@click.option("--top", default=14, show_default=True)
@click.option("--python", "python_path", help="Also run under cProfile and write its statistics there.")
def main(manifests: int, shape: str, top: int, python_path: str | None) -> None:
    """Show the collector's statements by their total time."""
    from bench.collect import run_collector

    chosen = registry(manifests) if shape == "registry" else SHAPES[shape]
    with Lab() as lab:
        lab.template(chosen)
        with lab.clone(chosen) as url:
            admin = psycopg2.connect(url)
            admin.autocommit = True
            cursor = admin.cursor()
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            cursor.execute("ALTER SYSTEM SET pg_stat_statements.track_planning = on")
            cursor.execute("SELECT pg_reload_conf()")
            cursor.execute("SELECT pg_stat_statements_reset()")
            run: Run = isolated(run_collector, url)
            cursor.execute(_TOP, (url.rpartition("/")[2], top))
            rows = cursor.fetchall()
            admin.close()
        _show(run, rows)
        if python_path:
            with lab.clone(chosen) as url:
                isolated(profiled, url, python_path)
            pstats.Stats(python_path).sort_stats("tottime").print_stats(15)


def _show(run: Run, rows: list[tuple[int, float, float, int, str]]) -> None:
    shown = [
        (f"{ms:,.0f}", f"{plan:,.0f}", calls, f"{ms / max(calls, 1):.2f}", _short(query))
        for calls, ms, plan, _, query in rows
    ]
    table(("ms", "planning", "calls", "ms each", "statement"), shown)
    server = sum(row[1] for row in rows) / 1000
    click.echo(
        f"{run.manifests:,} manifests, {run.rows:,} rows, {run.statements:,} statements"
        f" in {run.seconds:.2f} s; the statements above took {server:.2f} s on the server"
    )


def _short(query: str) -> str:
    return re.sub(r"\s+", " ", query).strip()[:130]


if __name__ == "__main__":
    main()
