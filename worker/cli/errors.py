"""Print a command's error as one line, or as one JSON object."""

from __future__ import annotations

import json

import click

from worker import logs


def say_error(message: str, *, as_json: bool, code: int = 1, **more: object) -> None:
    """Write the message without secrets to standard error, as `dredge: …` or as a JSON object.

    The object has the keys `error` and `exit_code`, and those of `more`.
    """
    shown = logs.masked(" ".join(message.split()))
    facts = {"error": shown, "exit_code": code, **more}
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else f"dredge: {shown}", err=True)


def say_problem(message: str, *, as_json: bool) -> None:
    """Write a problem that does not end the command to standard error, as `dredge: …` or `{"warning": …}`."""
    shown = logs.masked(" ".join(message.split()))
    click.echo(
        json.dumps({"warning": shown}, ensure_ascii=False) if as_json else f"dredge: {shown}", err=True
    )
