"""The answer to "why does it still exist?"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """`kept` or not, and the reasons in words, most important first."""

    kind: str
    subject: str
    kept: bool
    reasons: tuple[str, ...]
