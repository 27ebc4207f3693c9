"""The races that `bench.model.explorer` explores."""

from __future__ import annotations

from typing import Any

from bench.model import collecting as c
from bench.model import world as w
from bench.model.collecting import review
from bench.model.roles import (
    DEAD_AND_ALIVE,
    DYING,
    EXPIRED,
    IMAGE,
    SHARED,
    TOMBSTONE,
    Rows,
    clock,
    erase,
    erase_twice,
    failing_tag,
    flush,
    freeze,
    kill,
    once,
    other_collect,
    owner,
    push,
    quay,
)
from bench.model.rules import PROTOCOL, Rules
from bench.model.story import Story

_PLAIN = Rules(quarantine=False)


def _story(name: str, rows: Rows, rules: Rules = PROTOCOL, **actors: Any) -> Story:
    """Return a story.  Its object exists at first if the rows have a blob or a tombstone."""
    return Story(name, actors, rows, ("x",) if rows.get("blob") or rows.get("tombstone") else (), rules)


STORIES: tuple[Story, ...] = (
    _story(
        "a push and a review and an eraser", DYING, push=push(), review=review, erase=erase(), time=clock(20)
    ),
    _story(
        "a push and an eraser on a plain bucket",
        TOMBSTONE,
        _PLAIN,
        push=push(),
        erase=erase(),
        again=erase("b"),
    ),
    _story("two pushes of one new digest", {}, one=push("one"), two=push("two")),
    _story(
        "a tombstone whose digest has a row of Quay's",
        DEAD_AND_ALIVE,
        _PLAIN,
        erase=erase(),
        tag=lambda rules: c.tag("more", 1),
    ),
    _story(
        "an answer is lost, the request is late",
        TOMBSTONE,
        Rules(quarantine=False, lossy=True),
        push=push(),
        erase=erase(),
        again=erase("b"),
        time=clock(10, 30, 70, 200),
    ),
    _story(
        "a retry is answered, the first request is late",
        TOMBSTONE,
        Rules(quarantine=False, lossy=True),
        erase=erase(),
        time=clock(10),
        again=erase("b"),
        push=push(),
    ),
    _story(
        "an answer is lost, with a quarantine",
        TOMBSTONE,
        Rules(lossy=True, atomic=False),
        push=push(),
        erase=erase(),
        again=erase("b"),
        time=clock(10, 70, 200, 1_400),
    ),
    _story(
        "a short fence ends before its request lands",
        TOMBSTONE,
        Rules(lossy=True, atomic=False, short=True),
        push=push(),
        erase=erase(),
        again=erase("b"),
        time=clock(5, 15, 200, 1_400),
    ),
    _story(
        "a short fence, and the answer is slow",
        TOMBSTONE,
        Rules(short=True),
        push=push(),
        erase=erase(),
        again=erase("b"),
        time=clock(5, 15, 200, 1_400),
    ),
    _story(
        "objects are erased at once where others have a short fence",
        TOMBSTONE,
        Rules(quarantine=False, lossy=True, short=True),
        push=push(),
        erase=erase(),
        time=clock(5, 15, 70),
    ),
    _story(
        "a slow eraser and its fence",
        TOMBSTONE,
        _PLAIN,
        push=push(),
        erase=erase(),
        time=clock(50, 65, 110),
    ),
    _story(
        "a frozen eraser wakes after its fence",
        TOMBSTONE,
        Rules(freezes=True),
        erase=erase(),
        push=push(),
        again=erase("b"),
        time=clock(70, 200),
    ),
    _story(
        "a frozen eraser between copy and delete",
        TOMBSTONE,
        Rules(atomic=False, lossy=True, freezes=True),
        erase=erase(),
        time=clock(70),
        push=push(),
        again=erase_twice,
    ),
    _story(
        "an eraser is frozen during a push",
        TOMBSTONE,
        Rules(freezes=True),
        erase=erase(),
        freeze=once(freeze),
        push=push(),
        again=erase("b"),
    ),
    _story(
        "an eraser is killed",
        TOMBSTONE,
        erase=erase(),
        kill=once(kill("erase")),
        push=push(),
        time=clock(150),
    ),
    _story(
        "a push of Quay's",
        TOMBSTONE,
        Rules(quay=True),
        quay=quay(),
        erase=erase(),
        time=clock(20),
    ),
    _story(
        "Quay's Redis is flushed",
        DYING,
        Rules(quay=True),
        quay=quay(),
        review=review,
        erase=erase(),
        flush=once(flush),
        time=clock(20),
    ),
    _story(
        "a sweep under a second name for the store",
        {**IMAGE, "tag": ({"id": 1, "name": "old", "manifest": 1, "ended": 0},)},
        sweep=lambda rules: c.sweep("b", rules),
        erase=erase(),
        push=push(),
    ),
    _story(
        "the store is not mounted",
        TOMBSTONE,
        _PLAIN,
        erase=erase(),
        away=once(w.mounted(False)),
        back=once(w.mounted(True)),
    ),
    _story(
        "a tag on a manifest that is judged",
        {**IMAGE, "candidate_manifest": ({"id": 1, "manifest": 1},)},
        tag=lambda rules: c.tag("saved", 1),
        collect=c.collect,
        review=review,
    ),
    _story(
        "a tag that fails beside a collection",
        {**IMAGE, "candidate_manifest": ({"id": 1, "manifest": 1},)},
        tag=failing_tag,
        collect=c.collect,
        review=review,
    ),
    _story("a review is killed", DYING, review=review, kill=once(kill("review"))),
    _story(
        "a restore at the end of the window",
        EXPIRED,
        restore=lambda rules: c.restore("old"),
        collect=c.collect,
        time=clock(51),
    ),
    _story(
        "the window is lengthened",
        EXPIRED,
        owner=owner,
        time=clock(60),
        collect=c.collect,
    ),
    _story(
        "two collections drop one blob",
        SHARED,
        one=c.collect,
        two=other_collect,
        time=clock(60),
        review=review,
    ),
    _story("a mount while the blob is judged", DYING, mount=lambda rules: c.mount("x", "new"), review=review),
)


NAMED = {story.name: story for story in STORIES}
