"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

json_object = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
json_lines = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
without_asking = click.option("--yes", is_flag=True, help="Do not ask.")


def limit(rows: int) -> Callable[..., Any]:
    """Return the option `--limit` with this default."""
    return click.option(
        "--limit", default=rows, show_default=True, type=click.IntRange(1), help="Maximum rows."
    )
