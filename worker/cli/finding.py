"""What `dredge check` says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `problem` says what to do, or is empty."""

    part: str
    what: str
    problem: str = ""


def unset(part: str, variable: str) -> Finding:
    """The finding where a variable is missing."""
    return Finding(part, "configured", f"{variable} is not set: set it, or use `dredge embedded -- COMMAND`")
