"""Beside a transaction that is open for hours the end of a claim reads what was claimed, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from model.db.clock import now_ms
from model.db.connection import fetch, transaction
from model.db.queue_start import FRONT
from model.events.deliveries import claim_deliveries, release_deliveries
from model.gc.due.attempt import claim_rows, release, settle, succeed
from model.gc.quarantine import (
    claim_quarantined,
    postpone_quarantined,
    release_quarantined,
    settle_quarantined,
)
from model.gc.tombstones import claim_tombstones, postpone_tombstones, release_tombstones, settle_tombstones
from tests.support.entries import counting, old_snapshot
from tests.support.pipeline import LOCATION
from tests.support.world import World

ROWS, LIMIT = 1_000, 100
# A claim, and the ids of its rows.
Claimed = tuple[Any, list[int]]

NUMBERS = f"FROM generate_series(1, {ROWS}) n"
FILL = {
    "dredge_tombstone": "INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)"
    f" SELECT n, '{LOCATION}', 1, 1, 1 {NUMBERS}",
    "dredge_quarantine": "INSERT INTO dredge_quarantine"
    " (id, path, location, trash, size, set_aside_ms, look_ms, purge_ms)"
    f" SELECT n, n, '{LOCATION}', 't' || n, 1, 1, 1, 1 {NUMBERS}",
    "dredge_delivery": "INSERT INTO dredge_webhook VALUES ('one', 'https://example.com', '*', 1);"
    " INSERT INTO dredge_delivery (webhook, event_id, type, subject, data, created_ms, due_ms)"
    f" SELECT 'one', n, 't', 's', '{{}}', 1, 1 {NUMBERS}",
}


def _tombstones() -> Claimed:
    found = claim_tombstones(LOCATION, limit=LIMIT, fence_ms=1, lease_ms=1, set_aside=False)
    return found, [row.id for row in found.tombstones]


def _quarantined() -> Claimed:
    found = claim_quarantined(LOCATION, limit=LIMIT, lease_ms=1)
    return found, [row.id for row in found.rows]


def _deliveries() -> Claimed:
    found = claim_deliveries({"one": FRONT}, limit=LIMIT, lease_ms=1)
    return found, [row.id for row in found]


def _repositories() -> Claimed:
    rows = fetch(
        "SELECT repository_id AS id FROM dredge_due WHERE next_try_ms = 1 ORDER BY 1 LIMIT %s", (LIMIT,)
    )
    ids = [row.id for row in rows]
    claim_rows(ids)
    return None, ids


def _why(ids: list[int]) -> dict[int, str]:
    return dict.fromkeys(ids, "the store is unavailable")


ENDS: dict[str, tuple[Callable[[], Claimed], Callable[[Any, list[int]], Any]]] = {
    "settled tombstones": (_tombstones, lambda c, ids: settle_tombstones(c.token, ids)),
    "postponed tombstones": (_tombstones, lambda c, ids: postpone_tombstones(c.token, _why(ids))),
    "released tombstones": (_tombstones, lambda c, ids: release_tombstones(c.token, c.tombstones)),
    "settled objects in the trash": (_quarantined, lambda c, ids: settle_quarantined(c.token, ids)),
    "postponed objects in the trash": (_quarantined, lambda c, ids: postpone_quarantined(c.token, _why(ids))),
    "released objects in the trash": (_quarantined, lambda c, ids: release_quarantined(c.token, ids)),
    "released deliveries": (_deliveries, lambda c, ids: release_deliveries(c, after_ms=10**6)),
    "settled repositories": (_repositories, lambda c, ids: settle(ids, now_ms=now_ms())),
    "released repositories": (_repositories, lambda c, ids: release(ids, delay_ms=10**6)),
    "repositories with more garbage": (_repositories, lambda c, ids: succeed(ids, unfinished=ids)),
}


TABLES = {
    _tombstones: "dredge_tombstone",
    _quarantined: "dredge_quarantine",
    _deliveries: "dredge_delivery",
    _repositories: "dredge_due",
}
DELETED = ("settled tombstones", "settled objects in the trash")


@pytest.mark.parametrize("statistics", [False, True], ids=["no statistics", "statistics"])
@pytest.mark.parametrize("end", ENDS)
def test_an_end_reads_what_was_claimed(world: World, end: str, statistics: bool) -> None:
    begin, finish = ENDS[end]
    table = TABLES[begin]
    world.tag("bystander")
    if table in FILL:
        world.execute(FILL[table])
    else:
        world.due_repositories(ROWS)
    if statistics:
        world.execute(f"ANALYZE {table}")
    counts: list[int] = []
    done: set[int] = set()
    with old_snapshot(world.url), world.unchanged():
        for _ in range(ROWS // LIMIT):
            with transaction():
                claimed, ids = begin()
            counting(finish, counts)(claimed, ids)
            done |= {*ids}
    # Each row a few times: its version before the claim, the claimed one, and those of other indexes.
    assert counts and max(counts) <= 8 * LIMIT, counts
    assert len(done) == ROWS
    assert world.value(f"SELECT count(*) FROM {table}") == (0 if end in DELETED else ROWS)
