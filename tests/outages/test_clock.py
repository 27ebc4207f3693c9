"""A worker whose own clock is ten minutes off: nothing goes early, nothing stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import namespace, repository
from tests.outages.conftest import Ground
from tests.soak.images import image, pull

pytestmark = pytest.mark.slow

# Before anything else is imported, in every process of the worker.
SHIFTED = """
import datetime, time
_time, _now, SHIFT = time.time, datetime.datetime.now, {shift}
time.time = lambda: _time() + SHIFT

class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return _now(tz) + datetime.timedelta(seconds=SHIFT)

    @classmethod
    def utcnow(cls):
        return _now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(seconds=SHIFT)

datetime.datetime = Shifted
open({seen!r}, "a").close()
"""


@pytest.mark.parametrize("shift", [600, -600])
def test_a_wrong_clock_of_a_worker_decides_nothing(ground: Ground, tmp_path: Path, shift: int) -> None:
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SHIFTED.format(shift=shift, seen=str(patch / "seen")))
    window = repository.ensure(namespace.ensure("window", window_s=300).id, "app").id
    restorable = image([7], name="restorable")
    ground.pusher.push(window, restorable, "restorable")
    doomed = [ground.push("first", 1), ground.push("second", 2)]
    true_environment = ground.environment
    ground.environment = {**ground.environment, "PYTHONPATH": str(patch)}
    with ground.system(beat=False) as running:
        assert (patch / "seen").exists()
        ground.delete("first")
        ground.repository_id, now = window, ground.repository_id
        ground.delete("restorable")
        ground.repository_id = now
        ground.gone(doomed[0], running)
        ground.delete("second")
        ground.gone(doomed[1], running)
        assert ground.count("manifest", "digest = %s", restorable.digest) == 1
        assert pull(ground.stores, window, restorable.digest) > 0
    ground.environment = true_environment
    with ground.system() as running:
        ground.settle(running)
        assert pull(ground.stores, window, restorable.digest) > 0
