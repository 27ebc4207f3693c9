"""The black-box verdict: was what clients saw possible, if nothing is ever lost?

The history is a file of JSON lines, in any order; each is one operation of one client:

    op, begin, end      what, and from when to when (seconds); without an end nobody knows what came of it
    repository, tag     where; a *key* is both of them
    digest              what the tag was to point at, or what a reader found there (null: no such tag)
    error               why it was refused or failed; null means yes
    changed             false where the answer said that nothing was changed
    facts               `subject` of a signature, `window_s` of a repository, `ttl_s` of a push's hold

Three lines are no client's: `repository`, `outage` (the database was away: a reason to fail), and `fault`
(what else was done to the system: never a reason).

It is judged from these lines alone: nothing of the registry's code or database is used here.  Memory grows
with the number of operations, and time with that times the logarithm of those of one key.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

NAMES = frozenset({"push", "keep", "move", "restore", "push mounted", "quay push"})
ENDS = frozenset({"delete", "delete for good"})
READS = frozenset({"pull", "final pull"})
# What an answer may be, and say by that that nothing was changed.
REFUSED = frozenset({"NotRestorable", "ManifestGone", "NoSuchManifest", "NoSuchBlob", "Lost"})
# After an outage its connections are found broken at their next use.
MARGIN_S = 5.0
FOREVER = float("inf")

Key = tuple[int, str]


class Seen(NamedTuple):
    """One operation as its client saw it."""

    op: str
    begin: float
    end: float
    repository: int
    tag: str | None
    digest: str | None
    error: str | None
    changed: bool
    facts: dict[str, Any]

    @property
    def yes(self) -> bool:
        return self.error is None and self.end < FOREVER

    @property
    def may_have_changed(self) -> bool:
        """False only where the answer says that nothing was changed."""
        return self.changed if self.yes else self.error not in REFUSED


class Spans:
    """Writes of one value, for the question: may one that began before R have lasted until F?"""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._longest: list[float] = []

    def add(self, begin: float, end: float) -> None:
        self._spans.append((begin, end))
        self._longest.clear()

    def may_reach(self, since: float, before: float) -> bool:
        """One began before `before` and ended at `since` or later, or nobody knows."""
        if not self._longest:
            self._spans.sort()
            self._longest = list(accumulate((end for _, end in self._spans), max))
        place = bisect_left(self._spans, (before, -FOREVER))
        return place > 0 and self._longest[place - 1] >= since


class Register:
    """What was written to one key."""

    def __init__(self) -> None:
        self.values: defaultdict[str | None, Spans] = defaultdict(Spans)
        self.values[None].add(-FOREVER, -FOREVER)
        self._definite: list[tuple[float, float]] = []
        self._latest: list[float] = []

    def write(self, value: str | None, seen: Seen) -> None:
        """Add a write; one that was not acknowledged may come true at any later time."""
        self.values[value].add(seen.begin, seen.end if seen.yes else FOREVER)
        if seen.yes:
            self._definite.append((seen.end, seen.begin))
            self._latest.clear()

    def floor(self, at: float) -> float:
        """What ended before this was overwritten for certain when somebody began to read at `at`."""
        if not self._latest:
            self._definite.sort()
            self._latest = list(accumulate((begin for _, begin in self._definite), max))
        place = bisect_left(self._definite, (at, -FOREVER))
        return self._latest[place - 1] if place else -FOREVER

    def touched(self, since: float, until: float) -> bool:
        """May anything have been written between the two?"""
        return any(spans.may_reach(since, until) for spans in self.values.values())


@dataclass
class Verdict:
    """What was wrong, in words, and what was looked at, in numbers."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def find(self, what: str, seen: Seen, more: str = "") -> None:
        """Something that should not be."""
        self.counts[what] += 1
        where = f"{seen.repository}:{seen.tag or seen.digest}"
        self.wrong.append(f"{what}: {seen.op} {where} at {seen.begin:.3f} to {seen.end:.3f} {more}".rstrip())


class Judge:
    """Reads a history once, then asks after each operation."""

    def __init__(self, history: Iterable[Seen]) -> None:
        self.history = list(history)
        self.keys: defaultdict[Key, Register] = defaultdict(Register)
        self.ended: defaultdict[tuple[int, str | None], Spans] = defaultdict(Spans)
        self.for_good: defaultdict[tuple[int, str | None, str | None], Spans] = defaultdict(Spans)
        self.named: defaultdict[tuple[int, str | None, str | None], Spans] = defaultdict(Spans)
        self.pointed: defaultdict[tuple[int, str | None, str | None], Spans] = defaultdict(Spans)
        self.windows: dict[int, float] = {}
        self.read_at_last: set[Key] = set()
        for seen in self.history:
            self._learn(seen)

    def _learn(self, seen: Seen) -> None:
        key = (seen.repository, seen.tag or "")
        end = seen.end if seen.yes else FOREVER
        if seen.op == "repository":
            self.windows[seen.repository] = seen.facts["window_s"]
        elif seen.op == "final pull":
            self.read_at_last.add(key)
        elif not seen.may_have_changed:
            return
        elif seen.op in NAMES:
            self.keys[key].write(seen.digest, seen)
            self.named[seen.repository, seen.tag, seen.digest].add(seen.begin, end)
            if seen.yes:
                # It was acknowledged then, and did not end before it began.
                self.pointed[seen.repository, seen.tag, seen.digest].add(seen.end, seen.begin)
        elif seen.op in ENDS:
            self.keys[key].write(None, seen)
            if seen.op == "delete for good":
                self.for_good[seen.repository, seen.tag, seen.digest].add(seen.begin, end)
        elif seen.op == "delete of manifest":
            self.ended[seen.repository, seen.digest].add(seen.begin, end)

    def judge(self) -> Verdict:
        """Everything that cannot be explained."""
        verdict = Verdict()
        reasons = Reasons(self)
        for seen in self.history:
            verdict.counts[seen.op] += 1
            if seen.op in READS:
                self._judge_read(seen, verdict)
            if seen.error and not (seen.op in READS and seen.error == "Lost") and not reasons.explain(seen):
                verdict.find("unexplained failure", seen, seen.error)
            if seen.error == "NotRestorable" and self._was_restorable(seen):
                verdict.find("refused restore", seen)
            if seen.op in NAMES and seen.yes and (seen.repository, seen.tag) not in self.read_at_last:
                verdict.find("never read again", seen)
        for seen, subject in self._lost_signatures():
            verdict.find("lost signature", seen, f"of {subject}")
        return verdict

    def _judge_read(self, seen: Seen, verdict: Verdict) -> None:
        register = self.keys[seen.repository, seen.tag or ""]
        if seen.error == "Lost":
            # Only somebody who moved or ended the tag meanwhile explains that something of it is not there.
            if not (register.touched(seen.begin, seen.end) or self._ends(seen, seen.digest, seen.begin)):
                verdict.find("lost", seen, seen.facts.get("text", ""))
        elif seen.yes:
            verdict.counts["reads judged"] += 1
            since = register.floor(seen.begin)
            if register.values[seen.digest].may_reach(since, seen.end):
                return
            if seen.digest is None and any(self._ends(seen, value, since) for value in register.values):
                return
            verdict.find("impossible read", seen, f"found {seen.digest}")

    def _ends(self, seen: Seen, digest: str | None, since: float) -> bool:
        """May somebody have ended every tag of this manifest between the two?"""
        return self.ended[seen.repository, digest].may_reach(since, seen.end)

    def _was_restorable(self, seen: Seen) -> bool:
        """For certain: the name pointed there within the window, and nobody deleted that for good."""
        window_s = self.windows.get(seen.repository, 0.0)
        spans = self.named[seen.repository, seen.tag, seen.digest]
        pointed = self.pointed[seen.repository, seen.tag, seen.digest]
        for_good = self.for_good[seen.repository, seen.tag, seen.digest]
        return (
            pointed.may_reach(seen.end - window_s, seen.begin)
            and not spans.may_reach(seen.begin, seen.end)  # one that is still under way may come later
            and not for_good.may_reach(-FOREVER, seen.end)
        )

    def _lost_signatures(self) -> Iterator[tuple[Seen, str]]:
        """What was signed and kept has its signature."""
        kept = {(x.repository, x.digest) for x in self.history if x.op == "keep" and x.yes}
        lost = {(x.repository, x.digest) for x in self.history if x.op == "final look" and x.error == "Lost"}
        for seen in self.history:
            subject = seen.facts.get("subject", "")
            signed = seen.op == "sign" and seen.yes and (seen.repository, subject) in kept
            if signed and (seen.repository, seen.digest) in lost:
                yield seen, subject


class Reasons:
    """Why operations may fail: outages, expected refusals, and what others did at the same time."""

    def __init__(self, judge: Judge) -> None:
        self._outages = [(x.begin, x.end) for x in judge.history if x.op == "outage"]
        self._enders: defaultdict[int, Spans] = defaultdict(Spans)
        for seen in judge.history:
            if (seen.op in ENDS or seen.op == "delete of manifest") and seen.may_have_changed:
                self._enders[seen.repository].add(seen.begin, seen.end if seen.yes else FOREVER)

    def explain(self, seen: Seen) -> bool:
        """Is there a reason for this failure?"""
        slow = seen.end - seen.begin > seen.facts.get("ttl_s", FOREVER)  # its holds may have run out
        match seen.error:
            case "DatabaseUnavailable":
                return any(b < seen.end and seen.begin < e + MARGIN_S for b, e in self._outages)
            case "NotRestorable":
                return seen.op == "restore"
            case "ManifestGone" | "NoSuchManifest":
                rivals = self._enders[seen.repository]
                return seen.op in ("move", "restore") or slow or rivals.may_reach(seen.begin, seen.end)
            case "NoSuchBlob":
                return seen.op == "mount" or slow
            case "RowVanished":
                return seen.op == "quay push"
            case "Lost":
                return seen.op == "final look"
        return False


def read_history(path: Path) -> Iterator[Seen]:
    """The operations of a file."""
    with path.open() as lines:
        for line in lines:
            yield parse(json.loads(line))


def parse(line: dict[str, Any]) -> Seen:
    """One line's operation."""
    end = line.get("end")
    return Seen(
        line["op"],
        line["begin"],
        FOREVER if end is None else end,
        line.get("repository", 0),
        line.get("tag"),
        line.get("digest"),
        line.get("error"),
        line.get("changed", True),
        line.get("facts") or {},
    )


def judge_file(path: Path) -> Verdict:
    """Judge a history."""
    return Judge(read_history(path)).judge()


if __name__ == "__main__":
    found = judge_file(Path(sys.argv[1]))
    sys.stdout.write("\n".join([*found.wrong, json.dumps(found.counts)]) + "\n")
    sys.exit(bool(found.wrong))
