"""A worker whose own clock is ten minutes off: nothing goes early, nothing stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import namespace, repository
from tests.outages.conftest import OutageServers
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
def test_a_wrong_clock_of_a_worker_decides_nothing(
    outage_servers: OutageServers, tmp_path: Path, shift: int
) -> None:
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SHIFTED.format(shift=shift, seen=str(patch / "seen")))
    window = repository.ensure(namespace.ensure("window", window_s=300).id, "app").id
    restorable = image([7], name="restorable")
    outage_servers.pusher.push(window, restorable, "restorable")
    doomed = [outage_servers.push("first", 1), outage_servers.push("second", 2)]
    true_environment = outage_servers.environment
    outage_servers.environment = {**outage_servers.environment, "PYTHONPATH": str(patch)}
    with outage_servers.system(beat=False) as running:
        assert (patch / "seen").exists()
        outage_servers.delete("first")
        outage_servers.repository_id, now = window, outage_servers.repository_id
        outage_servers.delete("restorable")
        outage_servers.repository_id = now
        outage_servers.gone(doomed[0], running)
        outage_servers.delete("second")
        outage_servers.gone(doomed[1], running)
        assert outage_servers.count("manifest", "digest = %s", restorable.digest) == 1
        assert pull(outage_servers.stores, window, restorable.digest) > 0
    outage_servers.environment = true_environment
    with outage_servers.system() as running:
        outage_servers.settle(running)
        assert pull(outage_servers.stores, window, restorable.digest) > 0
