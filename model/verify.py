"""Verify certificates against the database: `dredge verify`, or `python -m model.verify URL` alone.

It imports nothing of the collector.  A certificate is one row of `dredge_certificate`: a JSON `body`, 32
bytes of `digests` for each manifest or blob that it names, and `sum`, the SHA-256 of both.  It is accepted if

- its sum is right, and it follows the certificate that its body names;
- no manifest or blob that it names is in the database, or in an earlier certificate;
- each manifest's last tag had left the window, and every manifest that held it died with it;
- each purged manifest's repository had been marked for as long as it says;
- the history has exactly the manifests, blobs and bytes of it, and the events exactly its digests.

A user who can write every table and computes all later sums of the chain again can forge a history.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2

NO_TAG = -(2**62)  # stands for the end of a manifest that had no tag
FACTS = {"referrers", "referrer_grace_ms", "protects_immutable", "ignores_holds"}
KEYS = {"stage", "chain", "place", "previous", "started_ms", "task", "policy", "windows_ms", "dead"}
TABLES = {"collect": "manifest", "purge": "manifest", "review": "imagestorage"}

_CERTIFICATES = "SELECT id, finished_ms, body, digests, sum FROM dredge_certificate ORDER BY id"
_ALIVE = {
    "manifest": "SELECT id FROM manifest WHERE id = ANY(%s)",
    "imagestorage": "SELECT id FROM imagestorage WHERE id = ANY(%s)",
}
_HISTORY = """
SELECT stage, coalesce(repository_id, 0), started_ms, finished_ms, manifests + blobs,
       CASE WHEN stage = 'review' THEN bytes ELSE 0 END
FROM dredge_collection WHERE certified AND manifests + blobs > 0
"""
_EVENTS = """
SELECT repository_id, created_ms, data FROM dredge_event WHERE type = 'registry.manifest.collected'
"""

Step = tuple[str, int, int, int]  # of the history: stage, repository, begin and end


@dataclass(frozen=True)
class Verification:
    """What was read, and every reason to reject it; true where there is none."""

    certificates: int
    manifests: int
    blobs: int
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.problems


class Verifier:
    """One pass over all certificates, in the transaction of the connection: see `open_snapshot`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._read: Counter[str] = Counter()
        self._chains: dict[int, tuple[int, str]] = {}
        self._dead: dict[str, set[int]] = defaultdict(set)
        self._counted: Counter[Step] = Counter()
        self._bytes: Counter[Step] = Counter()
        self._named: dict[tuple[int, int], set[str]] = defaultdict(set)

    def run(self) -> Verification:
        """Read everything; changes nothing."""
        recorded, found = self._events(), list[str]()
        with self._connection.cursor("certificates") as rows:
            rows.execute(_CERTIFICATES)
            for id, finished_ms, body, digests, sum in rows:
                self._read["certificates"] += 1
                try:
                    problems = list(
                        self._check(finished_ms, body, bytes(digests), bytes(sum).hex(), recorded)
                    )
                except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
                    problems = [f"it cannot be read ({type(error).__name__})"]
                found += [f"certificate {id}: {problem}" for problem in problems]
        found += self._compare_history()
        for repository, moment in sorted(recorded):
            named = self._named.get((repository, moment))
            if named is not None and named != recorded[repository, moment]:
                found.append(f"an event of repository {repository} names other digests")
        read = self._read
        return Verification(read["certificates"], read["manifest"], read["imagestorage"], tuple(found))

    def _query(self, sql: str, *params: Any) -> list[Any]:
        cursor = self._connection.cursor()
        cursor.execute(sql, params)
        return list(cursor.fetchall())

    def _events(self) -> dict[tuple[int, int], set[str]]:
        recorded: dict[tuple[int, int], set[str]] = defaultdict(set)
        for repository, created_ms, data in self._query(_EVENTS):
            items = json.loads(data)["items"]
            recorded[repository, created_ms].update(fingerprint(item["digest"]) for item in items)
        return dict(recorded)

    def _check(self, finished_ms: int, body: str, digests: bytes, sum: str, recorded: Any) -> Iterator[str]:
        facts = json.loads(body)
        if hashlib.sha256(body.encode() + digests).hexdigest() != sum:
            yield "its sum is wrong"
        yield from self._check_chain(facts, sum)
        yield from _check_form(facts, digests, finished_ms)
        yield from self._check_dead(facts)
        for entry, start in zip(facts["dead"], range(0, len(digests), 32), strict=True):
            step = (facts["stage"], entry[1], facts["started_ms"], finished_ms)
            self._counted[step] += 1
            if facts["stage"] == "review":
                self._bytes[step] += entry[2]
            elif (entry[1], facts["started_ms"]) in recorded:
                self._named[entry[1], facts["started_ms"]].add(digests[start : start + 32].hex())

    def _check_chain(self, facts: Any, sum: str) -> Iterator[str]:
        """The certificates before the first of a chain may have gone with the history."""
        chain, place = facts["chain"], facts["place"]
        last = self._chains.get(chain)
        if last is not None and (place, facts["previous"]) != (last[0] + 1, last[1]):
            yield "it does not follow the one before it in its chain"
        if (place == 0) != (facts["previous"] == "") or place < 0:
            yield "its place in the chain is wrong"
        self._chains[chain] = (place, sum)

    def _check_dead(self, facts: Any) -> Iterator[str]:
        table, ids = TABLES[facts["stage"]], [entry[0] for entry in facts["dead"]]
        for row in self._query(_ALIVE[table], ids):
            yield f"{table} {row[0]} is alive"
        if again := self._dead[table].intersection(ids) or len(ids) != len(set(ids)):
            yield f"a {table} died twice ({again})"
        self._dead[table].update(ids)
        self._read[table] += len(ids)
        if table == "manifest":
            yield from _check_reasons(facts, set(ids))
        else:
            if any(len(entry) != 3 or entry[2] < 0 for entry in facts["dead"]):
                yield "a blob's entry is wrong"

    def _compare_history(self) -> Iterator[str]:
        """Every certified step has its certificates, and every certificate has its steps."""
        counted: Counter[Step] = Counter()
        freed: Counter[Step] = Counter()
        for *step, count, size in self._query(_HISTORY):
            counted[tuple(step)] += count
            freed[tuple(step)] += size
        for recorded, seen, what in ((self._counted, counted, "counts"), (self._bytes, freed, "bytes")):
            for step in sorted(recorded.keys() | seen.keys()):
                if recorded[step] != seen[step]:
                    yield f"{what} of {step}: {recorded[step]} certified, {seen[step]} in the history"


def _check_form(facts: Any, digests: bytes, finished_ms: int) -> Iterator[str]:
    if facts.keys() != KEYS or facts["policy"].keys() != FACTS or not facts["task"]:
        yield "a fact is missing or unknown"
    if facts["policy"]["referrers"] not in ("pin", "cascade"):
        yield "its policy is unknown"
    if not facts["dead"] or len(digests) != 32 * len(facts["dead"]):
        yield "it has not one digest for each of its dead"
    if finished_ms < facts["started_ms"]:
        yield "it ended before it began"


def _check_reasons(facts: Any, ids: set[int]) -> Iterator[str]:
    """A manifest's last tag left the window, or its repository's grace was over; its holders died too."""
    windows = facts["windows_ms"]
    if set(windows) != {str(entry[1]) for entry in facts["dead"]}:
        yield "its windows are not those of its repositories"
    for id, repository, since_ms, *holders in facts["dead"]:
        if since_ms + max(0, windows[str(repository)]) > facts["started_ms"]:
            yield f"manifest {id} was still to be kept"
        if not ids.issuperset(holders):
            yield f"manifest {id} was held by one that did not die"
        if facts["stage"] == "purge" and (holders or since_ms == NO_TAG):
            yield f"manifest {id} has not the reason of a purge"


def fingerprint(digest: str) -> str:
    """64 hexadecimal characters: a SHA-256 digest's own, of any other text its SHA-256."""
    own = re.fullmatch(r"sha256:([0-9a-f]{64})", digest)
    return own[1] if own else hashlib.sha256(digest.encode()).hexdigest()


def open_snapshot(url: str) -> Any:
    """Connect for one look at the whole database."""
    connection = psycopg2.connect(url)
    connection.set_session("REPEATABLE READ", readonly=True)
    return connection


if __name__ == "__main__":
    found = Verifier(open_snapshot(sys.argv[1])).run()
    sys.stdout.write("\n".join([*found.problems, f"certificates: {found.certificates}\n"]))
    sys.exit(0 if found else 1)
