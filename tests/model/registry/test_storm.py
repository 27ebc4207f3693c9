"""Eight processes at the same few names while workers collect: documented answers only, clean at the end."""

from __future__ import annotations

import time

import pytest
from honcho.environ import parse_procfile

from tests.soak.__main__ import audit, deployment
from tests.soak.processes import ROOT, Actors, Workers

SECONDS = 15
NAMES = ["one", "two", "three"]


@pytest.mark.slow
def test_tags_of_the_same_repositories_in_a_storm() -> None:
    with deployment({"now": 0, "soon": 1}, repositories=1) as where:
        lines = parse_procfile((ROOT / "Procfile").read_text()).processes
        with Workers(lines, where.environment, where.directory) as workers:
            with Actors(
                {"storm": 8}, where.repositories, NAMES, where.environment, where.directory, 1
            ) as actors:
                time.sleep(SECONDS)
                crashed = actors.stop()
            done = audit(where, workers, crashed)
    assert done.wrong == []
    assert [entry for entry in done.entries if entry.deadlock] == []
    answers = {(entry.op, entry.yes) for entry in done.entries}
    assert {(op, True) for op in ("push", "move", "delete", "restore")} <= answers
