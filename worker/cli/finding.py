"""A result of `dredge check`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """The result for one checked part; `problem` says what is wrong and what to do, or is empty."""

    part: str
    what: str
    problem: str = ""


def unset(part: str, variable: str) -> CheckResult:
    """Return the result for a missing variable."""
    return CheckResult(
        part, "configured", f"{variable} is not set: set it, or use `dredge embedded -- COMMAND`"
    )
