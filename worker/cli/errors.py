"""Print a command's error as one line, or as one JSON object."""

from __future__ import annotations

import json

import click

from worker import logs


def say_error(message: str, *, as_json: bool) -> None:
    """Write the message without secrets to standard error, as `dredge: …` or `{"error": …}`."""
    shown = logs.masked(" ".join(message.split()))
    click.echo(json.dumps({"error": shown}, ensure_ascii=False) if as_json else f"dredge: {shown}", err=True)
