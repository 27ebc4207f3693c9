"""`python -m bench.explain`: show the server's plan, with times, for finding repositories with garbage."""

from __future__ import annotations

import click

from bench.lab import Lab, configured
from bench.wide import GARBAGE, Wide, make_garbage
from model.db.clock import now_ms
from model.db.connection import db
from model.gc import find
from model.policy import DEFAULT
from worker.jobs.find import STEP, find_due


@click.command()
@click.option("--repositories", default=100_000, show_default=True)
@click.option("--garbage", type=click.Choice(list(GARBAGE)), default="dense", show_default=True)
def main(repositories: int, garbage: str) -> None:
    """Show EXPLAIN (ANALYZE, BUFFERS) of the statement that examines one slice of the registry."""
    wide = Wide(repositories)
    with Lab() as lab, lab.clone(wide) as url, configured(url):
        make_garbage(garbage, wide)
        find_due(DEFAULT, after=0, slice=STEP, limit=1)  # warms the caches
        explained = db.execute_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {find.IN_SLICE}",
            find.slice_params(after=0, slice=STEP, policy=DEFAULT, now_ms=now_ms()),
        ).fetchall()
    for line in explained:
        click.echo(line[0])


if __name__ == "__main__":
    main()
