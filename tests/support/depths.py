"""How far a random or exhaustive check goes: a little in the fast tests, further in the slow ones."""

from __future__ import annotations

import os
from typing import Any

import pytest

IN_CI = bool(os.environ.get("CI"))


def depths(quick: Any, deep: Any, *, ids: tuple[str, str] = ("quick", "deep")) -> list[Any]:
    """Return the parameters of a test that runs in both depths.

    The slow one begins with what the fast one does.  CI runs both kinds of tests, so only the slow one there.
    """
    slow = pytest.param(deep, id=ids[1], marks=pytest.mark.slow)
    return [slow] if IN_CI else [pytest.param(quick, id=ids[0]), slow]
