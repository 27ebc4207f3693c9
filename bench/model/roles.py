"""The initial rows of stories, and their actors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.model import collecting as c
from bench.model import world as w
from bench.model.erase import erase as erase_turn
from bench.model.operations import COMMIT, KEY_SHARE, ROLLBACK, Lock, Program, Row, Select
from bench.model.push import push as push_blob
from bench.model.push import quay_push
from bench.model.rules import Rules
from bench.model.world import World

Rows = Mapping[str, tuple[Row, ...]]
BLOB = ({"id": 1, "digest": "x", "location": "a", "ready": True},)
DEAD = {
    "id": 9,
    "digest": "x",
    "location": "a",
    "state": "dead",
    "due": 0,
    "leased": 0,
    "token": "",
    "sent": 0,
}
DYING: Rows = {"blob": BLOB, "candidate": ({"id": 1, "blob": 1},)}
IMAGE: Rows = {
    "blob": BLOB,
    "manifest": ({"id": 1},),
    "manifestblob": ({"id": 1, "manifest": 1, "blob": 1},),
}
ENDED = ({"id": 1, "name": "old", "manifest": 1, "ended": 1},)


def quay() -> Callable[[Rules], Program]:
    return lambda rules: quay_push("x", "new", rules)


def push(tag: str = "new") -> Callable[[Rules], Program]:
    return lambda rules: push_blob("x", tag, rules)


def erase(me: str = "eraser") -> Callable[[Rules], Program]:
    return lambda rules: erase_turn(me, rules)


def clock(*moments: int) -> Callable[[Rules], Program]:
    return lambda rules: w.passing(moments)


def once(what: Callable[[World], None]) -> Callable[[Rules], Program]:
    return lambda rules: w.disturb(what)


def freeze(world: World) -> None:
    world.frozen.add("erase")


def kill(name: str) -> Callable[[World], None]:
    return lambda world: world.killed.add(name)


def flush(world: World) -> None:
    world.redis.clear()


TOMBSTONE: Rows = {"tombstone": (DEAD,)}
EXPIRED: Rows = {**IMAGE, "tag": ENDED}
DEAD_AND_ALIVE: Rows = {
    **IMAGE,
    "blob": ({**BLOB[0], "ready": False},),
    "tag": ({"id": 1, "name": "old", "manifest": 1, "ended": 0},),
    "tombstone": (DEAD,),
}
SHARED: Rows = {
    "blob": BLOB,
    "manifest": ({"id": 1}, {"id": 2}),
    "manifestblob": ({"id": 1, "manifest": 1, "blob": 1}, {"id": 2, "manifest": 2, "blob": 1}),
    "candidate_manifest": ({"id": 1, "manifest": 1},),
    "tag": ({"id": 1, "name": "old", "manifest": 2, "ended": 1},),
}


def erase_twice(rules: Rules) -> Program:
    for turn in ("b", "c"):
        yield from erase_turn(turn, rules)
        yield w.tick(210)


def failing_tag(rules: Rules) -> Program:
    """Create a tag, but roll back after the manifest is locked."""
    yield Lock("manifest", {"id": 1}, KEY_SHARE)
    yield ROLLBACK


def other_collect(rules: Rules) -> Program:
    return c.collect(rules, repository="other")


def owner(rules: Rules) -> Program:
    """Lengthen the window, which promises that all data that exists then stays."""
    yield from c.lengthen(500)
    there = yield Select("tag", {"name": "old"})
    yield COMMIT
    if there:
        yield w.promise("restorable", "old")
