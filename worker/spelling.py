"""Suggest the names that were probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Return at most two of the known names, the most similar first."""
    return difflib.get_close_matches(word, known, n=2)


def did_you_mean(near: list[str], *, otherwise: str = "") -> str:
    """Return `: did you mean this or that?`, or `otherwise` if no name is near."""
    return f": did you mean {' or '.join(near)}?" if near else otherwise
