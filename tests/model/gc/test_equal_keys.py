"""Where very many rows are due at the same time, a claim or a scan sorts at most what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from model.db.clock import now_ms
from model.db.connection import execute
from model.db.queue_start import FRONT
from model.events.deliveries import claim_deliveries, prune_dead
from model.events.outbox import find_unpublished, prune_published
from model.gc.due.turn import claim_with_others
from model.gc.due.waiting import find_waiting
from model.gc.find import find_others
from model.gc.inspect.due import find_attempted
from model.gc.poison import find_due
from model.gc.quarantine import claim_quarantined
from model.gc.quarantine_looks import look_at_quarantine
from model.gc.security_reports import claim_report_debts
from model.gc.tombstones import claim_tombstones
from model.policy import DEFAULT
from model.retention.audit import prune_audit
from tests.support.entries import plans
from tests.support.world import World

ROWS, LIMIT = 20_000, 10
PLACE = "local_us"

_TOMBSTONES = """
INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)
SELECT n, 'local_us', 1, 1, 1 FROM generate_series(1, %(rows)s) n
"""
_QUARANTINE = """
INSERT INTO dredge_quarantine (id, path, location, trash, size, set_aside_ms, look_ms, purge_ms)
SELECT n, n, 'local_us', n, 1, 1, 1, %(purge_ms)s FROM generate_series(1, %(rows)s) n
"""
_DELIVERIES = """
WITH hook AS (INSERT INTO dredge_webhook VALUES ('ops', 'https://example.com', '*', 1))
INSERT INTO dredge_delivery (webhook, event_id, type, subject, data, created_ms, due_ms, dead_ms)
SELECT 'ops', n, 't', 's', '{}', 1, 1, %(dead_ms)s FROM generate_series(1, %(rows)s) n
"""
_REPORTS = """
INSERT INTO dredge_report_debt (digest, created_ms, due_ms)
SELECT n, 1, 1 FROM generate_series(1, %(rows)s) n
"""
_EVENTS = """
INSERT INTO dredge_event (event_id, type, subject, data, created_ms, published_ms)
SELECT n, 't', 's', '{}', 1, %(published_ms)s FROM generate_series(1, %(rows)s) n
"""
_CANDIDATES = """
INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms, due_ms)
SELECT %(repository_id)s, n, 1, 1 FROM generate_series(1, %(rows)s) n
"""
_POISON = """
INSERT INTO dredge_poison (stage, key, created_ms, due_ms, tries, last_error)
SELECT 'review', n, 1, 1, 1, '' FROM generate_series(1, %(rows)s) n
"""
_REPOSITORIES = """
WITH made AS (
    INSERT INTO repository (namespace_user_id, name, visibility_id, badge_token, kind_id, state)
    SELECT namespace_user_id, name || n, visibility_id, n, kind_id, state
    FROM repository CROSS JOIN generate_series(1, %(rows)s) n
    WHERE id = %(repository_id)s RETURNING id, namespace_user_id
)
INSERT INTO dredge_due (repository_id, namespace_id, due_ms, next_try_ms, attempts)
SELECT id, namespace_user_id, 1, %(try_ms)s, %(attempts)s FROM made
"""
_ENDED = """
INSERT INTO dredge_ended_tag
    (repository_id, tag, digest, rule, author, ended_ms, restorable_until_ms)
SELECT 1, n, 'd', 'r', 'a', 1, 1 FROM generate_series(1, %(rows)s) n
"""


def claim_all() -> None:
    claim_tombstones(PLACE, limit=LIMIT, fence_ms=0, lease_ms=0, set_aside=False)


def scan() -> None:
    find_others(policy=DEFAULT, now_ms=now_ms(), limit=LIMIT)


@pytest.mark.parametrize(
    ("rows", "facts", "work"),
    [
        (_TOMBSTONES, {}, claim_all),
        (_QUARANTINE, {"purge_ms": 1}, lambda: claim_quarantined(PLACE, limit=LIMIT, lease_ms=1)),
        (
            _QUARANTINE,
            {"purge_ms": 2**60},
            lambda: look_at_quarantine({PLACE: FRONT}, now_ms=now_ms(), limit=LIMIT),
        ),
        (_DELIVERIES, {"dead_ms": None}, lambda: claim_deliveries({"ops": FRONT}, limit=LIMIT, lease_ms=1)),
        (_DELIVERIES, {"dead_ms": 1}, lambda: prune_dead(before_ms=2, limit=LIMIT)),
        (_REPORTS, {}, lambda: claim_report_debts(limit=LIMIT)),
        (_EVENTS, {"published_ms": None}, lambda: find_unpublished(limit=LIMIT, max_bytes=10**6)),
        (_EVENTS, {"published_ms": 1}, lambda: prune_published(before_ms=2, limit=LIMIT)),
        (_CANDIDATES, {}, scan),
        (_POISON, {}, lambda: find_due("review", limit=LIMIT)),
        (_REPOSITORIES, {"try_ms": 1, "attempts": 1}, scan),
        (_REPOSITORIES, {"try_ms": 2**60, "attempts": 1}, lambda: find_attempted(now_ms=1, limit=LIMIT)),
        (_ENDED, {}, lambda: prune_audit(before_ms=2, limit=LIMIT)),
    ],
)
def test_rows_that_are_due_at_the_same_time_are_not_sorted(
    world: World, rows: str, facts: dict[str, Any], work: Callable[[], Any]
) -> None:
    execute(rows, {"rows": ROWS, "repository_id": world.repository_id, **facts})
    with plans() as nodes:
        work()
    assert nodes
    for node in nodes:
        assert "Sort" not in node["Node Type"] or node["Actual Rows"] * node["Actual Loops"] <= LIMIT, node
        read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        assert read <= 20 * LIMIT, node


def test_a_turn_of_repositories_that_are_due_at_the_same_time_reads_what_it_claims(world: World) -> None:
    facts = {"rows": ROWS, "repository_id": world.repository_id, "try_ms": 1, "attempts": 0}
    execute(_REPOSITORIES, facts)
    leader = world.value("SELECT min(repository_id) FROM dredge_due")
    with plans() as nodes:
        claim_with_others(leader, others=LIMIT)
    assert nodes and max(node["Actual Rows"] for node in nodes) <= 20 * LIMIT
    with plans() as nodes:
        assert find_waiting(limit=LIMIT, share=LIMIT)
    assert nodes and max(node["Actual Rows"] for node in nodes) <= 1_000
