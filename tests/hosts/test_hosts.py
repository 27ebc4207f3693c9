"""One fault between real hosts, as `python -m tests.hosts` does all of them."""

from __future__ import annotations

import pytest

from tests.hosts.__main__ import run
from tests.hosts.faults import FAULTS
from tests.hosts.network import can_make_hosts


@pytest.mark.slow
def test_a_worker_that_is_cut_off_while_it_erases_loses_and_leaks_nothing() -> None:
    if reason := can_make_hosts():
        pytest.skip(reason)
    fault = next(fault for fault in FAULTS if "while it erases" in fault.name)
    outcome = run([fault], seed=3, roles={})
    assert outcome.wrong == []
    assert [told.fault.name for told in outcome.told] == [fault.name]
