"""The commands of the pages on upgrading and uninstalling, in their order, on a real database."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.world import World
from tests.worker.cli.conftest import Dredge

PAGES = Path(__file__).parents[3] / "docs" / "how-to"
UNINSTALL = (PAGES / "install.md").read_text().partition("## Uninstall")[2]
UPGRADE = (PAGES / "upgrade.md").read_text()

# Whatever of ours is left: relations with their indexes and sequences, functions and triggers.
OURS = """
SELECT relname FROM pg_class WHERE relname LIKE 'dredge%'
UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'dredge%'
UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE 'dredge%'
"""


def commands(page: str) -> list[list[str]]:
    """The arguments of each `dredge` command of a page."""
    return [text.split() for text in re.findall(r"`dredge ([^`]+)`", page)]


@pytest.fixture
def broker(valkey: str) -> Any:
    return {"BROKER_URL": valkey}


def test_the_commands_of_an_upgrade_succeed_and_end_without_a_hold(
    world: World, dredge: Dredge, broker: Any
) -> None:
    world.tag("bystander")
    asked = commands(UPGRADE)
    assert [each[0] for each in asked] == ["init", "check", "pause", "resume"]
    with world.unchanged():
        for each in asked:
            said = dredge(*each, **broker)
            assert said.code == 0, (each, said.out, said.err)


def test_uninstalling_leaves_nothing_of_ours_and_everything_of_the_registry(
    world: World, dredge: Dredge, valkey: str, broker: Any
) -> None:
    kept = [world.tag("bystander"), world.tag("deleted", ended_ms=world.now_ms - 1000)]
    assert dredge("init", "--triggers", **broker).code == 0
    assert world.rows(OURS)
    for each in commands(UNINSTALL):
        assert dredge(*each, **broker).code == 0, each
    (sql,) = re.findall(r"```sql\n(.*?)```", UNINSTALL, re.DOTALL)
    world.execute(sql)
    assert world.rows(OURS) == []
    assert {tag for (tag,) in world.rows("SELECT id FROM tag")} == {int(tag) for tag in kept}
    world.execute("UPDATE tag SET lifetime_end_ms = 5 WHERE id = %s", (int(kept[0]),))


@pytest.mark.skipif(
    shutil.which("redis-cli") is None, reason="redis-cli (Debian: redis-tools) is not installed"
)
def test_uninstalling_deletes_our_keys_of_redis_and_no_other(valkey: str) -> None:
    (shell,) = re.findall(r"```sh\n(.*?)```", UNINSTALL, re.DOTALL)
    with redis.Redis.from_url(valkey) as client:
        client.mset({"dredge:a": 1, "dredge:b{c}": 2, "bystander": 3})
        subprocess.run(
            ["bash", "-euc", shell], check=True, env={"DREDGE_BROKER_URL": valkey, "PATH": "/usr/bin:/bin"}
        )
        assert client.keys("*") == [b"bystander"]
