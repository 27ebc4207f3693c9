"""Fixtures of the jobs' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import blob
from tests.support.eraser import EraserFixture
from tests.support.world import World


@pytest.fixture
def eraser(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EraserFixture:
    monkeypatch.setattr(blob, "PATIENCE_S", 0.5)
    return EraserFixture(world, tmp_path / "objects")
