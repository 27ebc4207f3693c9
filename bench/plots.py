"""`python -m bench.plots`: measure throughput and push latency, and draw both into docs/figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench.baseline import run_baseline
from bench.collect import ROUNDS, run_collector
from bench.contest import Run
from bench.floor import run_floor
from bench.lab import Lab, isolated
from bench.pushes import measure
from worker.local.sample.shape import registry

CONTENDERS = ("Dredge", "floor: plain deletes per repository", "row by row")
_COLOURS = ("#1f6feb", "#8b949e", "#d1242f")


@click.command()
@click.option(
    "--sizes",
    default="1000,3000,10000,30000",
    show_default=True,
    help="Sizes of the registries, in manifests.",
)
@click.option(
    "--seconds", default=10.0, show_default=True, help="Maximum time of the row-by-row collector, seconds."
)
@click.option("--data", type=click.Path(path_type=Path), default=Path("docs/figures/performance.json"))
@click.option("--draw-only", is_flag=True, help="Draw the numbers of the last measurement.")
def main(sizes: str, seconds: float, data: Path, draw_only: bool) -> None:
    """Write docs/figures/throughput.svg and latency.svg, and the numbers behind them."""
    if not draw_only:
        found = {
            "throughput": _throughput([int(size) for size in sizes.split(",")], seconds),
            "latency": _latency(max(int(size) for size in sizes.split(",")), seconds),
        }
        data.write_text(json.dumps(found, indent=1) + "\n")
    found = json.loads(data.read_text())
    _draw_throughput(found["throughput"], data.parent / "throughput.svg")
    _draw_latency(found["latency"], data.parent / "latency.svg")


def _throughput(sizes: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    contenders: tuple[Callable[[str], Run], ...] = (
        run_collector,
        partial(run_floor, per_repository=True),
        partial(run_baseline, budget_s=seconds),
    )
    for size in sizes:
        shape = registry(size)
        runs: list[list[Run]] = [[] for _ in CONTENDERS]
        with Lab() as lab:
            for _ in range(ROUNDS):
                for found, contender in zip(runs, contenders, strict=True):
                    with lab.clone(shape) as url:
                        found.append(isolated(contender, url))
        best = [min(found, key=lambda run: 1 / max(run.manifests_per_s, 1e-9)) for found in runs]
        row = {"registry": size, **{n: r.manifests_per_s for n, r in zip(CONTENDERS, best, strict=True)}}
        click.echo(json.dumps(row), err=True)
        rows.append(row)
    return rows


def _latency(size: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Return the sorted milliseconds of each operation, alone and during a collection."""
    named = zip(("alone", "beside a collection"), measure(registry(size), seconds), strict=True)
    return {
        name: {kind: [round(s * 1000, 3) for s in values] for kind, values in found.items()}
        for name, found in named
    }


def _draw_throughput(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, colour in zip(CONTENDERS, _COLOURS, strict=True):
        sizes = [row["registry"] for row in rows]
        axes.plot(sizes, [row[name] for row in rows], marker="o", color=colour, label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="manifests in the registry", ylabel="manifests removed per second"
    )
    axes.grid(True, which="both", alpha=0.2)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw_latency(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    kinds = ("push", "tag", "pull")
    figure, axes = plt.subplots(1, len(kinds), figsize=(9, 3.5), sharey=True)
    for panel, kind in zip(axes, kinds, strict=True):
        for (name, series), colour in zip(found.items(), ("#8b949e", "#1f6feb"), strict=True):
            values = series[kind]
            shares = [(n + 1) / len(values) * 100 for n in range(len(values))]
            panel.plot(values, shares, color=colour, label=name)
        panel.set(title=kind, xlabel="ms", xscale="log")
        panel.axhline(99, color="#d1242f", linewidth=0.5)
        panel.grid(True, which="both", alpha=0.2)
    axes[0].set_ylabel("operations that took at most so long, %")
    axes[-1].legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
