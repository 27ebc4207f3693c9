"""A command loads only what it uses, because loading is most of the time that a short command takes."""

from __future__ import annotations

import subprocess
import sys

from worker.cli import COMMANDS

# Commands that ask the broker, the cache or a store.
ELSEWHERE = {
    "check", "collect", "demo", "enqueue", "events", "import", "init", "namespace", "repository", "retention",
    "sweep", "undelete", "up", "web",
}  # fmt: skip
CLIENTS = ("redis", "celery", "kombu", "boto3", "obstore")


def test_commands_of_the_database_load_no_other_client() -> None:
    modules = [COMMANDS[name][0] for name in COMMANDS if name not in ELSEWHERE]
    assert len(modules) > 10
    story = f"import sys, {', '.join(modules)}; print(*(sys.modules.keys() & set(sys.argv[1:])))"
    loaded = subprocess.run([sys.executable, "-c", story, *CLIENTS], capture_output=True, check=True)
    assert loaded.stdout.split() == []
