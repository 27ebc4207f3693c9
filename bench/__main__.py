"""Run benchmarks: `python -m bench [NAME…] [--manifests N] [--json]`."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import click

from bench.figure import Figure, Options
from bench.lab import choose_postgres
from worker.cli.tables import table

# Each module has `run(options) -> Iterator[Figure]`, bounded in time.
BENCHES: tuple[str, ...] = (
    "collect",
    "unique",
    "certificates",
    "keys",
    "giant",
    "purge",
    "shield",
    "retention",
    "slow",
    "concurrent",
    "finding",
    "bloat",
    "erase",
    "put_back",
    "pushes",
    "celery_rate",
    "many",
    "fairness",
    "latency",
    "memory",
    "cache",
    "events",
    "trigger",
    "model",
)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(BENCHES))
@click.option("--manifests", default=10_000, show_default=True, type=click.IntRange(100))
@click.option(
    "--repositories",
    default=20_000,
    show_default=True,
    type=click.IntRange(100),
    help="Repositories of the benchmark `many`.",
)
@click.option(
    "--seconds", default=10.0, show_default=True, help="Duration of benchmarks without an end of their own."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--postgres",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Run the PostgreSQL of this directory, such as /usr/lib/postgresql/15/bin.",
)
def main(
    names: tuple[str, ...],
    manifests: int,
    repositories: int,
    seconds: float,
    seed: int,
    as_json: bool,
    postgres: Path | None,
) -> None:
    """Measure Dredge on embedded servers; without NAME, run all benchmarks."""
    if postgres is not None:
        choose_postgres(postgres)
    options = Options(manifests, seconds, seed, repositories)
    figures: list[Figure] = []
    for name in names or BENCHES:
        started = time.monotonic()
        for figure in importlib.import_module(f"bench.{name}").run(options):
            figures.append(figure)
            if as_json:
                click.echo(json.dumps(figure.as_json()))
                sys.stdout.flush()
        click.echo(f"{name}: {time.monotonic() - started:.0f} s", err=True)
    if not as_json:
        table(
            ("bench", "figure", "value", "unit", "aim"),
            [(f.bench, f.figure, _shown(f.value), f.unit, f.aim) for f in figures],
        )


def _shown(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
