"""A registry in which every command has something to say, and how each command is called there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.support.layouts import plain_layout
from tests.support.pages import below
from tests.support.world import World, digest_of
from tests.worker.cli.conftest import Garbage
from worker.cli import COMMANDS

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
RULES = "rules:\n- name: old builds\n  action: expire\n  tags: build-*\n  older_than: 2w\n"
LONG = "a reason that is much longer than any terminal of eighty columns can show beside others"

# Commands that print no data: they run other processes, or print a script.
RUNNING = {"up", "web", "embedded", "demo", "completion", "events tail"}
# The trash has nothing in this registry.
ONLY_ERRORS = {"undelete"}
GROUPS = {"tag", "repository", "namespace", "retention", "inuse", "webhook", "events"}


def every_command() -> Iterator[str]:
    for name in COMMANDS:
        yield from (" ".join(command) for command in below(name))


# In this order; a command finds what those before it left.
CALLS: dict[str, tuple[str, ...]] = {
    "init": ("init",),
    "check": ("check",),
    "quay-storage": ("quay-storage", "{config}"),
    "due": ("due",),
    "scan": ("scan",),
    "plan": ("plan", "acme/app"),
    "status": ("status",),
    "explain": ("explain", "acme/app:bystander"),
    "tag list": ("tag", "list", "acme/app"),
    "tag history": ("tag", "history", "acme/app"),
    "pause": ("pause", "acme", "--reason", LONG, "--until", "3d"),
    "resume": ("resume", "acme"),
    "approve": ("approve", "acme"),
    "retry": ("retry",),
    "webhook add": ("webhook", "add", "ops", "https://hooks.example.com/a/long/path/of/an/endpoint"),
    "webhook list": ("webhook", "list"),
    "webhook retry": ("webhook", "retry", "ops"),
    "webhook remove": ("webhook", "remove", "ops"),
    "retention check": ("retention", "check", "{rules}"),
    "retention set": ("retention", "set", "{rules}"),
    "retention rules": ("retention", "rules"),
    "retention run": ("retention", "run", "acme/app"),
    "retention audit": ("retention", "audit"),
    "retention problems": ("retention", "problems"),
    "retention remove": ("retention", "remove", "old builds"),
    "inuse load": ("inuse", "load", "--source", "{digests}"),
    "inuse status": ("inuse", "status"),
    "import": ("import", "{image}", "acme/copy"),
    "export": ("export", "acme/copy:v1", "{layout}"),
    "tag expire": ("tag", "expire", "acme/app:bystander", "--in", "3d"),
    "tag delete": ("tag", "delete", "acme/app:going"),
    "tag restore": ("tag", "restore", "acme/app:going"),
    "repository delete": ("repository", "delete", "acme/copy", "--yes"),
    "repository list": ("repository", "list", "--deleted"),
    "repository restore": ("repository", "restore", "acme/copy"),
    "namespace delete": ("namespace", "delete", "other", "--yes"),
    "namespace list": ("namespace", "list", "--deleted"),
    "namespace restore": ("namespace", "restore", "other"),
    "sweep": ("sweep", "--dry-run"),
    "verify": ("verify",),
    "fsck": ("fsck",),
    "collect": ("collect", "--all"),
    "history": ("history",),
    "enqueue": ("enqueue", "--all"),
    "sample": ("sample", "--manifests", "40", "--objects", "none", "--yes"),
    "web token": ("web", "token", "ci"),
}


def files(directory: Path) -> dict[str, str]:
    """Write the files that calls name.  Returns their paths."""
    config = "DISTRIBUTED_STORAGE_CONFIG: {default: [LocalStorage, {storage_path: /objects}]}\n"
    texts = {"rules": RULES, "digests": digest_of("in use") + "\n", "config": config}
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text)
    paths = {name: str(directory / f"{name}.yaml") for name in texts}
    image = str(plain_layout(directory / "image"))
    return paths | {"image": image, "layout": str(directory / "layout")}


def fill(world: World, garbage: Garbage) -> None:
    """Write an alive and a dead image, failures, and what waits."""
    garbage.image("going")
    garbage.image("dead", dead_for_ms=90_000)
    world.repository("copy-of-something-with-a-long-name", namespace=world.namespace("other"))
    world.execute(
        "INSERT INTO dredge_due (repository_id, namespace_id, due_ms, attempts, next_try_ms, last_error)"
        " SELECT id, namespace_user_id, 1, 99, 9999999999999, %s FROM repository LIMIT 1",
        (LONG,),
    )
    world.execute(
        "INSERT INTO dredge_poison (stage, key, created_ms, due_ms, tries, last_error)"
        " VALUES ('review', '4711', 1, 9999999999999, 12, %s)",
        (LONG,),
    )
