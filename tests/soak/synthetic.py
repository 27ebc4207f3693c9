"""A history of a registry that loses nothing, made by dice: as many operations as wanted, in bounded time.

Each operation takes effect at one moment; it begins a little before and is answered a little after, so
operations of one key overlap.  Some clients are killed and never hear an answer; some meet an outage.

    python -m tests.soak.synthetic 1000000 1 > history.jsonl    # how many operations, and the seed
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

SECONDS_EACH = 0.0036  # a million of them are an hour
WINDOWS_S = {1: 0.0, 2: 60.0, 3: 1e9}
TAGS = 200

Key = tuple[int, str]
State = dict[Key, str]
# What was ended last, and when.
Ended = dict[Key, tuple[str, float]]

ROLES = ("push",) * 3 + ("keep", "sign", "move", "delete", "delete for good", "delete of manifest", "restore")
READS = ("pull",) * 10


def make_history(operations: int, seed: int) -> Iterator[dict[str, Any]]:
    """The lines of a history, the last ones a read of every key."""
    dice = random.Random(seed)
    for repository, window_s in WINDOWS_S.items():
        yield _line("repository", 0, 0, repository, facts={"window_s": window_s})
    state: State = {}
    ended: Ended = {}
    names: set[tuple[int, str]] = set()
    now = 1_000.0
    for number in range(operations):
        now += SECONDS_EACH
        if number % 200_000 == 199_999:
            yield _line("outage", now, now + 2.0)
        key = (dice.choice(list(WINDOWS_S)), f"v{dice.randrange(TAGS)}")
        op = dice.choice(ROLES + READS)
        line = _operation(op, number, key, now, dice, state, ended)
        if line is not None:
            names.add((line["repository"], line["tag"] or ""))
            yield line
    for repository, tag in sorted(names - {(r, "") for r in WINDOWS_S}):
        digest = state.get((repository, tag))
        yield _line("final pull", now + 100, now + 101, repository, tag, digest)


def _operation(
    op: str, number: int, key: Key, now: float, dice: random.Random, state: State, ended: Ended
) -> dict[str, Any] | None:
    begin, end = now - dice.expovariate(20), now + dice.expovariate(20)
    repository, tag = key
    if op == "keep":
        key = (repository, f"kept{number}")
        tag = key[1]
    line = _line(op, begin, end, repository, tag, state.get(key))
    killed, happens = dice.random() < 0.002, dice.random() < 0.5
    if killed and op != "pull":
        line["end"] = None
        if not happens:
            line["digest"] = line["digest"] or f"d{number}"
            return line if op in ("push", "delete") else None
    match op:
        case "pull":
            return line
        case "push" | "keep" | "move":
            line["digest"] = f"d{number if op != 'move' else dice.randrange(number + 1)}"
            _end(key, now, state, ended)
            state[key] = line["digest"]
        case "sign":
            line |= {"tag": None, "digest": f"s{number}", "facts": {"subject": f"d{number}"}}
        case "restore":
            return _restore(line, key, now, state, ended)
        case "delete of manifest":
            if key not in state:
                return None
            line["tag"] = None
            _end_manifest(repository, state[key], now, state, ended)
        case _:
            line["changed"] = key in state
            _end(key, now, state, ended if op == "delete" else {})
    return line


def _end_manifest(repository: int, digest: str, now: float, state: State, ended: Ended) -> None:
    """End every tag of the manifest: shared ones, and the one that it was kept under."""
    for each in [(repository, f"v{n}") for n in range(TAGS)] + [(repository, f"kept{digest[1:]}")]:
        if state.get(each) == digest:
            _end(each, now, state, ended)


def _restore(
    line: dict[str, Any],
    key: Key,
    now: float,
    state: State,
    ended: Ended,
) -> dict[str, Any] | None:
    """What was ended last, if its window is open or the name points at it again."""
    if key not in ended:
        return None
    digest, at = ended[key]
    line["digest"] = digest
    if at + WINDOWS_S[key[0]] <= now and state.get(key) != digest:
        line["error"] = "NotRestorable"
        return line
    _end(key, now, state, {})
    state[key] = digest
    return line


def _end(
    key: Key,
    now: float,
    state: State,
    ended: Ended,
) -> None:
    if key in state:
        ended[key] = (state.pop(key), now)


def _line(
    op: str,
    begin: float,
    end: float,
    repository: int = 0,
    tag: str | None = None,
    digest: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    return {
        "op": op, "begin": begin, "end": end, "repository": repository, "tag": tag, "digest": digest, **more,
    }  # fmt: skip


if __name__ == "__main__":
    for made in make_history(int(sys.argv[1]), int(sys.argv[2])):
        sys.stdout.write(json.dumps(made) + "\n")
