"""`dredge web`: it starts, answers, and refuses to be open to everybody."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import ROOT
from tests.worker.cli.conftest import Dredge
from worker.api_token import find_token, parse_tokens


def test_a_token_is_printed_once_with_the_line_that_keeps_its_hash(dredge: Dredge) -> None:
    (made,) = dredge("web", "token", "ci", "--scope", "read", "--scope", "delete", "--json").lines
    (kept,) = parse_tokens(made["line"])
    assert find_token([kept], made["token"]) == kept and kept.scopes == {"read", "delete"}
    assert made["token"] not in made["line"]
    said = dredge("web", "token", "ci")
    assert said.code == 0 and "shown once" in said.out and "ci:read:" in said.out
    assert (
        dredge("web", "token", "c i").code == 2 and dredge("web", "token", "ci", "--scope", "root").code == 2
    )


def test_without_a_token_it_listens_on_loopback_only(dredge: Dredge) -> None:
    said = dredge("web", "--host", "0.0.0.0")
    assert said.code == 2 and "DREDGE_WEB_TOKENS" in said.err and "Traceback" not in said.err


@pytest.mark.slow
def test_it_serves_until_a_signal_and_says_when_the_port_is_taken(world: World) -> None:
    world.tag("bystander")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "DREDGE_DATABASE_URL": world.url, "DREDGE_WEB_PORT": str(port)}
    command = [str(Path(sys.executable).parent / "dredge"), "web"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as serving:
        try:
            eventually(lambda: _answers(port) or serving.poll() is not None)
            found = httpx.get(f"http://127.0.0.1:{port}/api/v1/due").json()
            assert found == {"repositories": [], "has_more": False}
            second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            assert second.returncode == 1 and "DREDGE_WEB_PORT" in second.stderr
            assert "Traceback" not in second.stderr
        finally:
            serving.send_signal(signal.SIGTERM)
            ended = serving.wait(PATIENCE_S)
    assert ended == 0


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    except httpx.TransportError:
        return False
