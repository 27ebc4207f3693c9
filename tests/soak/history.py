"""The history of what clients saw: written from their journals and from a last read of every key."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model import registry
from tests.soak.images import Lost, pull
from tests.soak.journal import Entry
from worker.storage.base import Stores


def write_history(
    path: Path,
    entries: Sequence[Entry],
    *,
    windows_s: Mapping[int, float],
    outages: Iterable[tuple[float, float]],
    faults: Iterable[tuple[str, tuple[float, float]]],
    ttl_s: float,
    stores: Stores,
) -> None:
    """Write one JSON line for each operation, fault and repository; then read every key as a client does."""
    nowhere = {"repository": 0, "begin": 0, "end": 0, "tag": None, "digest": None}
    lines: list[dict[str, Any]] = [
        {**nowhere, "op": "repository", "repository": id, "facts": {"window_s": window_s}}
        for id, window_s in windows_s.items()
    ]
    lines += [
        {**nowhere, "op": "fault", "begin": begin, "end": end, "facts": {"what": what}}
        for what, (begin, end) in faults
    ]
    lines += [{**nowhere, "op": "outage", "begin": begin, "end": end} for begin, end in outages]
    lines += [_line(entry, ttl_s) for entry in entries]
    lines += _last_reads(entries, stores)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _line(entry: Entry, ttl_s: float) -> dict[str, Any]:
    facts = {name: entry.facts[name] for name in ("subject",) if name in entry.facts}
    return {
        "op": entry.op,
        "begin": entry.begin,
        "end": entry.end,
        "repository": entry.repository,
        "tag": entry.tag,
        "digest": entry.digest,
        "error": entry.error,
        "changed": entry.changed,
        "facts": facts | {"ttl_s": ttl_s, "text": entry.text},
    }


def _last_reads(entries: Sequence[Entry], stores: Stores) -> Iterator[dict[str, Any]]:
    """Every tag that anybody ever named, with every byte; and every signature."""
    for repository, tag in sorted({(e.repository, e.tag) for e in entries if e.tag is not None}):
        begin, error, digest = time.time(), None, None
        found = registry.get_tag(repository, tag)
        if found is not None:
            digest, error = found.digest, _read(stores, repository, found.digest)
        yield _read_line("final pull", begin, repository, tag, digest, error)
    for repository, digest in sorted({(e.repository, str(e.digest)) for e in entries if e.op == "sign"}):
        begin = time.time()
        yield _read_line("final look", begin, repository, None, digest, _read(stores, repository, digest))


def _read(stores: Stores, repository: int, digest: str) -> str | None:
    """None, or `Lost`."""
    try:
        pull(stores, repository, digest)
    except Lost:
        return "Lost"
    return None


def _read_line(
    op: str, begin: float, repository: int, tag: str | None, digest: str | None, error: str | None
) -> dict[str, Any]:
    where = {"repository": repository, "tag": tag, "digest": digest}
    return {"op": op, "begin": begin, "end": time.time(), **where, "error": error}
