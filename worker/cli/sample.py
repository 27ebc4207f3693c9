"""`dredge sample`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click

from model.db.bulk_load import count_other_namespaces
from model.human import counted
from worker.cli import output, tables
from worker.local.sample import SHAPES, Filled, Shape, fill
from worker.local.sample.objects import ObjectWriter
from worker.local.sample.shape import DAY_S, SAMPLES, registry
from worker.settings import Settings
from worker.storage.open import open_stores

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}


def _durations(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Parse `0,1d,2w` into seconds."""
    try:
        return (value and tuple(_seconds(part.strip()) for part in value.split(","))) or None
    except (ValueError, KeyError):
        raise click.BadParameter(f"{value!r} is not a list of durations such as 0,1d,2w") from None


def _seconds(text: str) -> int:
    return int(text) if text.isdigit() else int(text[:-1]) * _UNITS[text[-1:]]


@click.command(name="sample")
@click.option(
    "--shape",
    "preset",
    type=click.Choice(list(SHAPES)),
    default="registry",
    show_default=True,
    help="The shape.",
)
@click.option("--manifests", type=click.IntRange(1, 10_000_000), help="Manifests to make; 10,000 by default.")
@click.option(
    "--repositories",
    type=click.IntRange(1, 2_000_000),
    help="Repositories; one for 40 manifests by default.",
)
@click.option("--tags", type=click.IntRange(1, 50_000_000), help="Visible tags; 1.3 per image by default.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Random seed.")
@click.option("--expired", type=click.FloatRange(0, 1), help="Share of tags beyond the recovery window.")
@click.option(
    "--windows",
    "windows_s",
    callback=_durations,
    metavar="DURATIONS",
    help="Recovery windows, mixed: 0,1d,2w.",
)
@click.option(
    "--objects",
    type=click.Choice(["none", "small"]),
    help="small: objects whose bytes hash to their digests, 65,536 times smaller than real ones; none: rows"
    " only, with real sizes.  Small where DREDGE_STORAGE is set and --shape is registry.",
)
@click.option("--yes", is_flag=True, help="Do not ask, even if the registry has other data.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(as_json: bool, yes: bool, preset: str, **options: Any) -> None:
    """Fill the registry with a synthetic workload, shaped like real registries.

    The same seed gives the same registry.  A registry may contain samples of several seeds.
    """
    settings = output.settings()
    shape = _shape(preset, options, settings)
    started = time.monotonic()
    with output.connected(settings):
        others = 0 if yes else count_other_namespaces(SAMPLES)
        if others:
            question = (
                f"The registry has {counted(others, 'namespace')} outside the samples. Fill it nevertheless?"
            )
            output.confirm(question, as_json=as_json)
    with output.connected(settings), output.progress("manifests", shape.manifests) as advance:
        filled = _fill(shape, settings, lambda made: advance(completed=made))
    result = dataclasses.asdict(filled) | {"seconds": round(time.monotonic() - started, 3)}
    if as_json:
        output.emit_json(result)
    else:
        tables.table(tuple(result), [tuple(result.values())])


def _shape(preset: str, options: dict[str, Any], settings: Settings) -> Shape:
    given = {name: value for name, value in options.items() if value is not None}
    if preset == "registry":
        base = registry(given.get("manifests", SHAPES[preset].manifests))
        given.setdefault("objects", "small" if settings.storage else "none")
    else:
        base = SHAPES[preset]
    return dataclasses.replace(base, **given)


def _fill(shape: Shape, settings: Settings, progress: Callable[[int], None]) -> Filled:
    with ExitStack() as stack:
        write: ObjectWriter | None = None
        if shape.objects == "small":
            output.require(settings, "storage")
            stores = open_stores(settings.storage, upload=settings.upload_location)
            write = stack.enter_context(ObjectWriter(stores[stores.upload]))
        return fill(shape, location=settings.upload_location, write=write, progress=progress)
