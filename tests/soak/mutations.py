"""Planted bugs as clients would have seen them: each changes a history in which nothing was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Line = dict[str, Any]
Lines = list[Line]


def _last(lines: Lines, **facts: Any) -> Line:
    """The last line with these facts."""
    return next(line for line in reversed(lines) if facts.items() <= line.items())


def _final(lines: Lines) -> Iterator[Line]:
    """Reads at the end of tags that are there."""
    return (line for line in lines if line["op"] == "final pull" and line["digest"])


def _kept(lines: Lines) -> Line:
    """The read at the end of a tag that nobody deletes."""
    kept = {x["tag"] for x in lines if x["op"] == "keep" and x["end"] and not x.get("error")}
    return next(line for line in _final(lines) if line["tag"] in kept)


def lose_tag(lines: Lines) -> None:
    """A collection took a tag that was in use."""
    _kept(lines)["digest"] = None


def lose_bytes(lines: Lines) -> None:
    """An eraser took the object of a tag that was in use."""
    _kept(lines)["error"] = "Lost"


def bring_back(lines: Lines) -> None:
    """A deleted tag is alive: its end was forgotten."""
    written = {(x["repository"], x["tag"]): x["digest"] for x in lines if x["op"] == "push" and x["end"]}
    pairs = ((line, written.get((line["repository"], line["tag"]))) for line in lines)
    line, digest = next((x, d) for x, d in pairs if x["op"] == "final pull" and not x["digest"] and d)
    line["digest"] = digest


def show_old(lines: Lines) -> None:
    """A reader is served what the tag pointed at before: a cache was not told."""
    for line in _final(lines):
        key = {"repository": line["repository"], "tag": line["tag"]}
        earlier = [x for x in lines if x["op"] == "push" and x["end"] and key.items() <= x.items()]
        if len(earlier) > 1 and earlier[0]["digest"] != line["digest"]:
            line["digest"] = earlier[0]["digest"]
            return
    raise AssertionError("no tag was pushed twice")


def mix_up(lines: Lines) -> None:
    """A tag points at what nobody pushed under that name."""
    _kept(lines)["digest"] = "sha256:somebody-elses"


def fail_without_reason(lines: Lines) -> None:
    """The server answered that it was not there, and no outage was on."""
    _last(lines, op="pull")["error"] = "DatabaseUnavailable"


def refuse_restore(lines: Lines) -> None:
    """The time machine forgot a tag inside its window."""
    wide = {x["repository"] for x in lines if x["op"] == "repository" and x["facts"]["window_s"] > 1e6}
    for_good = {(x["repository"], x["tag"], x["digest"]) for x in lines if x["op"] == "delete for good"}
    for line in reversed(lines):
        where = (line["repository"], line["tag"], line["digest"])
        succeeded = line["op"] == "restore" and line["end"] and not line.get("error")
        certain = succeeded and line["repository"] in wide and where not in for_good
        if certain and _only_once(lines, line):
            line["error"] = "NotRestorable"
            return
    raise AssertionError("no restore can be refused")


def _only_once(lines: Lines, restored: Line) -> bool:
    """The name was written again before anybody read it: the refusal is the only change."""
    key = {name: restored[name] for name in ("repository", "tag")}
    later = [x for x in lines if key.items() <= x.items() and x["begin"] > restored["end"]]
    writes = [x for x in later if x["op"] == "push" and x["end"] and not x.get("error")]
    reads = [x for x in later if x["op"] in ("pull", "final pull", "move", "restore")]
    return bool(writes) and all(read["begin"] > writes[0]["end"] for read in reads)


def lose_signature(lines: Lines) -> None:
    """A signature went, and its image is still there."""
    kept = _last(lines, op="keep")
    signature = {**kept, "op": "sign", "tag": None, "digest": "sha256:signature", "changed": True}
    look = {**signature, "op": "final look", "begin": 1e9, "end": 1e9 + 1, "error": "Lost", "facts": {}}
    lines += [signature | {"facts": {"subject": kept["digest"]}}, look]


MUTATIONS: dict[str, tuple[Callable[[Lines], None], str]] = {
    "a collection takes a tag in use": (lose_tag, "impossible read"),
    "an eraser takes an object in use": (lose_bytes, "lost"),
    "a deleted tag comes back": (bring_back, "impossible read"),
    "a reader is served an old manifest": (show_old, "impossible read"),
    "a tag points at what nobody pushed there": (mix_up, "impossible read"),
    "an operation fails for no reason": (fail_without_reason, "unexplained failure"),
    "a restore within the window is refused": (refuse_restore, "refused restore"),
    "a signature of a kept image is lost": (lose_signature, "lost signature"),
}
