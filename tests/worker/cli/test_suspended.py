"""What an operator sees of a location that is not the right store."""

from __future__ import annotations

from model.gc.storage_identity import suspend_location
from tests.support.world import World
from tests.worker.cli.conftest import Dredge


def test_check_names_a_suspended_location_and_why(world: World, dredge: Dredge) -> None:
    suspend_location("local_us", address="file:///x", problem="it is another store", now_ms=1)
    said = dredge("check")
    assert said.code == 1
    assert "local_us is suspended, nothing is erased there: it is another store" in said.out
