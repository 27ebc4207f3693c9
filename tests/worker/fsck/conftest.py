"""What the tests of fsck share."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects", fsync=False)
