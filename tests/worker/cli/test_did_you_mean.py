"""A name that is nearly right is answered with the right one."""

from __future__ import annotations

import pytest

from model import registry
from model.retention.stored import store_rules
from tests.support.world import World
from tests.worker.cli.conftest import Dredge
from tests.worker.cli.walk import KEY, RULES

DIGEST = "sha256:" + "0" * 64
WRONG = {
    "a command": (["plam"], 2, "Did you mean plan?"),
    "a subcommand": (["tag", "lisst", "acme/app"], 2, "Did you mean 'list'?"),
    "an option": (["history", "--limt", "3"], 2, "Did you mean '--limit'?"),
    "a stage": (["retry", "reviw"], 2, "did you mean review?"),
    "a location": (["sweep", "--accept", "locl_us"], 2, "did you mean local_us?"),
    "a rule": (["retention", "remove", "old build"], 1, "did you mean old builds?"),
    "a webhook": (["webhook", "remove", "opps"], 1, "did you mean ops?"),
    "a webhook to retry": (["webhook", "retry", "opps"], 1, "did you mean ops?"),
    "a namespace to pause": (["pause", "acmee", "--reason", "x"], 1, "did you mean acme?"),
    "a namespace to resume": (["resume", "acmee"], 1, "did you mean acme?"),
    "a namespace to approve": (["approve", "acmee"], 1, "did you mean acme?"),
    "a namespace to delete": (["namespace", "delete", "acmee", "--yes"], 1, "did you mean acme?"),
    "a repository's namespace": (["plan", "amce/app"], 1, "did you mean acme/app?"),
    **{
        f"a repository of {' '.join(arguments[:-1])}": (arguments, 1, "did you mean acme/app?")
        for arguments in (
            ["plan", "acme/ap"],
            ["collect", "acme/ap"],
            ["enqueue", "acme/ap"],
            ["history", "acme/ap"],
            ["explain", "acme/ap"],
            ["tag", "list", "acme/ap"],
            ["tag", "delete", "acme/ap:v1"],
            ["tag", "restore", "acme/ap:v1"],
            ["retention", "run", "acme/ap"],
            ["retention", "audit", "acme/ap"],
            ["undelete", DIGEST, "--repository", "acme/ap"],
            ["repository", "delete", "--yes", "acme/ap"],
        )
    },
    **{
        f"a tag of {' '.join(arguments[:2])}": (arguments, 1, "did you mean latest?")
        for arguments in (
            ["explain", "acme/app:latst"],
            ["export", "acme/app:latst", "nowhere"],
            ["tag", "delete", "acme/app:latst"],
            ["tag", "restore", "acme/app:latst"],
            ["tag", "expire", "--never", "acme/app:latst"],
        )
    },
}


@pytest.mark.parametrize("what", WRONG)
def test_the_nearest_name_is_told_and_nothing_changes(
    what: str, world: World, valkey: str, dredge: Dredge
) -> None:
    world.tag("latest")
    world.execute(
        "INSERT INTO dredge_webhook (name, url, types, created_ms) VALUES ('ops', 'https://x', '{}', 1)"
    )
    store_rules(RULES, author="me")
    arguments, code, told = WRONG[what]
    with world.changes() as changes:
        said = dredge(*arguments, BROKER_URL=valkey, WEBHOOK_KEY=KEY)
    assert not changes
    assert (said.code, said.out) == (code, "")
    assert told in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["repository", "restore", "acme/ap"],
            "no deleted repository acme/ap: did you mean acme/app?",
        ),
        (["repository", "restore", "nobody/zzzzzz"], "nobody/zzzzzz: see dredge repository list --deleted"),
        (["namespace", "restore", "tems"], "no deleted namespace tems: did you mean teams?"),
        (["namespace", "restore", "zzz"], "zzz: see dredge namespace list --deleted"),
    ],
)
def test_the_nearest_deleted_name_is_told(
    arguments: list[str], told: str, world: World, valkey: str, dredge: Dredge
) -> None:
    world.tag("bystander", repository=world.repository("other"))
    world.tag("old")
    world.namespace("teams")
    registry.delete_repository("acme/app")
    registry.delete_namespace("teams")
    with world.changes() as changes:
        said = dredge(*arguments, BROKER_URL=valkey)
    assert not changes
    assert (said.code, said.out) == (1, "")
    assert told in said.err


def test_a_setting_that_is_nearly_one(world: World, dredge: Dredge) -> None:
    world.tag("bystander")
    with world.changes() as changes:
        said = dredge("due", SCAN_SLISE="5", CACHE_TTL_TAGG="3", REFERERS="pin")
    assert not changes and said.code == 2
    assert "DREDGE_SCAN_SLISE: no such setting: did you mean DREDGE_SCAN_SLICE" in said.err
    assert "DREDGE_REFERERS: no such setting: did you mean DREDGE_REFERRERS" in said.err
