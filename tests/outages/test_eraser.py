"""An eraser that freezes in the middle, and one whose store is slow, while a push wants the digest back."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.errors import DigestBusy
from tests.outages.conftest import OutageServers
from tests.support.patience import PATIENCE_S, eventually
from tests.worker.broker.running import Process

pytestmark = pytest.mark.slow
APP = "tests.outages.apps"


def signal_all(running: Process, number: int) -> None:
    """To the worker, then to the children of its pool."""
    pid = running.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        os.kill(each, number)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_a_frozen_eraser_keeps_a_push_waiting_and_loses_nothing(
    outage_servers: OutageServers, tmp_path: Path
) -> None:
    flag = tmp_path / "erasing"
    outage_servers.environment |= {"ERASE_FLAG": str(flag), "ERASE_S": "1"}
    outage_servers.push("again", 1, 2)
    outage_servers.push("kept", 3)
    with outage_servers.system(app=APP) as running, ThreadPoolExecutor(1) as pool:
        outage_servers.delete("again")
        eventually(flag.exists, running)
        signal_all(running, signal.SIGSTOP)
        try:
            pushed = pool.submit(outage_servers.push, "again", 1, 2)
            time.sleep(3)
            assert not pushed.done() or isinstance(pushed.exception(), DigestBusy)
        finally:
            signal_all(running, signal.SIGCONT)
        pushed.result(PATIENCE_S)
        outage_servers.pull("again")
        outage_servers.settle(running)
        outage_servers.pull("again")
        outage_servers.pull("kept")


def test_an_eraser_killed_in_the_middle_leaves_the_way_free(
    outage_servers: OutageServers, tmp_path: Path
) -> None:
    flag = tmp_path / "erasing"
    outage_servers.environment |= {"ERASE_FLAG": str(flag), "ERASE_S": "60"}
    outage_servers.push("again", 1, 2)
    with outage_servers.system(app=APP, beat=False) as running:
        outage_servers.delete("again")
        eventually(flag.exists, running)
        signal_all(running, signal.SIGKILL)
        outage_servers.push("again", 1, 2)
    outage_servers.pull("again")
    with outage_servers.system() as running:
        outage_servers.settle(running)
        outage_servers.pull("again")
