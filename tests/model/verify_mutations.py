"""Changes to certificates and to the database, of every kind; some compute all later sums anew."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.verify import FACTS, KEYS, NO_TAG


@dataclass
class Certificate:
    """One row, taken apart."""

    id: int
    facts: dict[str, Any]
    digests: bytes

    @property
    def sum(self) -> bytes:
        return hashlib.sha256(self.body.encode() + self.digests).digest()

    @property
    def body(self) -> str:
        return json.dumps(self.facts, separators=(",", ":"))


class Forger:
    """Somebody who may write every table, in a transaction that is rolled back afterwards."""

    def __init__(self, connection: Any, dice: random.Random) -> None:
        self.cursor, self.dice = connection.cursor(), dice
        rows = self.query("SELECT id, body, digests FROM dredge_certificate ORDER BY id")
        self.all = [Certificate(id, json.loads(body), bytes(digests)) for id, body, digests in rows]

    def query(self, sql: str, *params: Any) -> list[Any]:
        self.cursor.execute(sql, params)
        return list(self.cursor.fetchall()) if self.cursor.description else []

    def pick(self, *stages: str, last: bool = True) -> Certificate:
        found = [c for c in self.all[: None if last else -1] if not stages or c.facts["stage"] in stages]
        return self.dice.choice(found)

    def write(self, certificate: Certificate) -> None:
        """Write the row with its own sum, and leave the one after it."""
        self.query(
            "UPDATE dredge_certificate SET body = %s, digests = %s, sum = %s WHERE id = %s",
            certificate.body,
            certificate.digests,
            certificate.sum,
            certificate.id,
        )

    def write_all(self) -> None:
        """Write every row, each with the sum of the one before it."""
        sums: dict[int, str] = {}
        for certificate in self.all:
            chain = certificate.facts.get("chain", 0)
            if certificate.facts.get("place"):
                certificate.facts["previous"] = sums.get(chain, certificate.facts.get("previous", ""))
            self.write(certificate)
            sums[chain] = certificate.sum.hex()

    def alive(self, stage: str) -> int:
        table = "imagestorage" if stage == "review" else "manifest"
        return int(self.dice.choice(self.query(f"SELECT id FROM {table}"))[0])


Mutation = Callable[[Forger], None]
MANIFESTS = ("collect", "purge")


def a_byte_of_the_body(forger: Forger) -> None:
    row = forger.pick()
    at = forger.dice.randrange(len(row.body))
    other = "9" if row.body[at] != "9" else "8"
    changed = row.body[:at] + other + row.body[at + 1 :]
    forger.query("UPDATE dredge_certificate SET body = %s WHERE id = %s", changed, row.id)


def a_byte_of_the_digests(forger: Forger) -> None:
    row = forger.pick()
    at = forger.dice.randrange(len(row.digests))
    changed = row.digests[:at] + bytes([row.digests[at] ^ 1]) + row.digests[at + 1 :]
    forger.query("UPDATE dredge_certificate SET digests = %s WHERE id = %s", changed, row.id)


def a_byte_of_the_sum(forger: Forger) -> None:
    at = forger.dice.randrange(32)
    row = forger.pick()
    changed = row.sum[:at] + bytes([row.sum[at] ^ 1]) + row.sum[at + 1 :]
    forger.query("UPDATE dredge_certificate SET sum = %s WHERE id = %s", changed, row.id)


def the_time_of_its_end(forger: Forger) -> None:
    by = forger.dice.choice([-1, 1]) * forger.dice.randint(1, 10**6)
    forger.query(
        "UPDATE dredge_certificate SET finished_ms = finished_ms + %s WHERE id = %s", by, forger.pick().id
    )


def a_smaller_window_with_its_own_sum(forger: Forger) -> None:
    row = forger.pick(*MANIFESTS, last=False)
    row.facts["windows_ms"] = {key: value - 1 for key, value in row.facts["windows_ms"].items()}
    forger.write(row)


def another_task_with_its_own_sum(forger: Forger) -> None:
    row = forger.pick(last=False)
    row.facts["task"] = "somebody else"
    forger.write(row)


def another_policy_with_its_own_sum(forger: Forger) -> None:
    row = forger.pick(last=False)
    row.facts["policy"]["ignores_holds"] = True
    forger.write(row)


def a_living_one_instead_of_a_dead_one(forger: Forger) -> None:
    row = forger.pick()
    forger.dice.choice(row.facts["dead"])[0] = forger.alive(row.facts["stage"])
    forger.write_all()


def a_living_one_beside_the_dead(forger: Forger) -> None:
    row = forger.pick()
    row.facts["dead"].append([forger.alive(row.facts["stage"]), *row.facts["dead"][-1][1:]])
    row.digests += row.digests[-32:]
    forger.write_all()


def one_that_never_was(forger: Forger) -> None:
    row = forger.pick()
    row.facts["dead"].append([10**6 + forger.dice.randrange(10**6), *row.facts["dead"][-1][1:]])
    row.digests += bytes(32)
    forger.write_all()


def one_less(forger: Forger) -> None:
    row = forger.pick()
    at = forger.dice.randrange(len(row.facts["dead"]))
    del row.facts["dead"][at]
    row.digests = row.digests[: 32 * at] + row.digests[32 * (at + 1) :]
    forger.write_all()


def one_that_died_in_another_batch_too(forger: Forger) -> None:
    table = forger.dice.choice([("collect", "purge"), ("review",)])
    row, other = forger.pick(*table), forger.pick(*table)
    forger.dice.choice(row.facts["dead"])[0] = forger.dice.choice(
        [entry[0] for entry in other.facts["dead"] if row is not other] or [forger.alive(row.facts["stage"])]
    )
    forger.write_all()


def a_window_that_was_not_over(forger: Forger) -> None:
    row = forger.pick(*MANIFESTS)
    entry = forger.dice.choice(row.facts["dead"])
    entry[2] = (
        row.facts["started_ms"] - row.facts["windows_ms"][str(entry[1])] + forger.dice.randint(1, 10**6)
    )
    forger.write_all()


def a_window_too_long_for_its_tags(forger: Forger) -> None:
    row = forger.pick(*MANIFESTS)
    entry = forger.dice.choice([e for e in row.facts["dead"] if e[2] != NO_TAG] or row.facts["dead"])
    entry[2] = max(entry[2], 0)
    row.facts["windows_ms"][str(entry[1])] = (
        row.facts["started_ms"] - entry[2] + forger.dice.randint(1, 10**6)
    )
    forger.write_all()


def a_holder_that_lives(forger: Forger) -> None:
    forger.dice.choice(forger.pick(*MANIFESTS).facts["dead"]).append(forger.alive("collect"))
    forger.write_all()


def another_repository(forger: Forger) -> None:
    forger.dice.choice(forger.pick().facts["dead"])[1] += forger.dice.randint(1, 100)
    forger.write_all()


def other_bytes(forger: Forger) -> None:
    forger.dice.choice(forger.pick("review").facts["dead"])[2] += forger.dice.choice([-1, 1, 10**9])
    forger.write_all()


def another_digest(forger: Forger) -> None:
    row = forger.pick(*MANIFESTS)
    at = forger.dice.randrange(len(row.digests))
    row.digests = row.digests[:at] + bytes([row.digests[at] ^ 255]) + row.digests[at + 1 :]
    forger.write_all()


def another_stage(forger: Forger) -> None:
    row = forger.pick()
    others = sorted({"collect", "review", "purge", "none"} - {row.facts["stage"]})
    row.facts["stage"] = forger.dice.choice(others)
    forger.write_all()


def another_beginning(forger: Forger) -> None:
    forger.pick().facts["started_ms"] += forger.dice.choice([-1, 1, -(10**9), 10**9])
    forger.write_all()


def an_unknown_policy(forger: Forger) -> None:
    forger.pick().facts["policy"]["referrers"] = "none"
    forger.write_all()


def a_missing_fact(forger: Forger) -> None:
    row = forger.pick()
    if forger.dice.random() < 0.5:
        del row.facts[forger.dice.choice(sorted(KEYS - {"chain", "place", "previous"}))]
    else:
        del row.facts["policy"][forger.dice.choice(sorted(FACTS))]
    forger.write_all()


def no_task(forger: Forger) -> None:
    forger.pick().facts["task"] = ""
    forger.write_all()


def another_place_in_the_chain(forger: Forger) -> None:
    row = forger.pick()
    row.facts["place"] += forger.dice.choice([-1, 1, 7])
    forger.write(row)


def a_certificate_less(forger: Forger) -> None:
    forger.query("DELETE FROM dredge_certificate WHERE id = %s", forger.pick().id)


def the_last_certificates_less(forger: Forger) -> None:
    first = forger.dice.randrange(1, len(forger.all))
    forger.query("DELETE FROM dredge_certificate WHERE id >= %s", forger.all[first].id)


def a_certificate_twice(forger: Forger) -> None:
    forger.query(
        "INSERT INTO dredge_certificate (finished_ms, body, digests, sum)"
        " SELECT finished_ms, body, digests, sum FROM dredge_certificate WHERE id = %s",
        forger.pick().id,
    )


def two_certificates_in_each_others_place(forger: Forger) -> None:
    first, second = forger.dice.sample(forger.all, 2)
    first.id, second.id = second.id, first.id
    forger.write(first)
    forger.write(second)


def a_step_of_the_history_less(forger: Forger) -> None:
    (id,) = forger.dice.choice(forger.query("SELECT id FROM dredge_collection WHERE manifests + blobs > 0"))
    forger.query("DELETE FROM dredge_collection WHERE id = %s", id)


def a_step_of_the_history_with_another_count(forger: Forger) -> None:
    (id,) = forger.dice.choice(forger.query("SELECT id FROM dredge_collection WHERE manifests + blobs > 0"))
    column = forger.dice.choice(["manifests", "blobs"])
    forger.query(f"UPDATE dredge_collection SET {column} = {column} + 1 WHERE id = %s", id)


def a_dead_manifest_in_the_database(forger: Forger) -> None:
    dead = forger.dice.choice(forger.pick(*MANIFESTS).facts["dead"])[0]
    forger.query(
        "INSERT INTO manifest (id, repository_id, digest, media_type_id, manifest_bytes)"
        " SELECT %s, repository_id, 'sha256:back', media_type_id, manifest_bytes FROM manifest LIMIT 1",
        dead,
    )


def a_dead_blob_in_the_database(forger: Forger) -> None:
    dead = forger.dice.choice(forger.pick("review").facts["dead"])[0]
    forger.query(
        "INSERT INTO imagestorage (id, uuid, image_size, uploading, cas_path, content_checksum)"
        " VALUES (%s, 'back', 1, true, true, 'sha256:back')",
        dead,
    )


MUTATIONS: tuple[Mutation, ...] = tuple(
    value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__annotations__", {}).get("forger") == "Forger"
)
