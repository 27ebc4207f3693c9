"""Items that make a shared stage fail: set aside with the error and the next try, so that the others go on.

A transaction of its own counts the attempt before the work.  So the item waits for its next try even if the
process dies.  Repositories, tombstones, objects in the trash and security reports keep their attempts in
their own rows.  A stage that has one batch at a time counts the attempt at the batch in a row of its own;
a review has a row for each batch (`model.gc.review_claim`).
"""

from __future__ import annotations

from dataclasses import dataclass

from model.db.backoff import backoff_ms, shortened
from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch, fetch_one, transaction
from model.gc.failing import NO_END, tell_failing
from model.policy import HOUR_MS

FIRST_RETRY_MS = 30_000
LAST_RETRY_MS = 24 * HOUR_MS
# A batch that fails is divided by eight, repeatedly: five divisions isolate one item of 5,000.
DIVIDE_BY = 8

_BACKOFF_MS = backoff_ms("p.tries", FIRST_RETRY_MS, LAST_RETRY_MS)

_ATTEMPT = f"""
INSERT INTO dredge_poison AS p (stage, key, created_ms, due_ms, tries, last_error, data)
VALUES (%(stage)s, %(key)s, {NOW_MS_SQL}, {NOW_MS_SQL} + {FIRST_RETRY_MS}, 1, %(no_end)s, %(data)s)
ON CONFLICT (stage, key) DO UPDATE SET tries = p.tries + 1, due_ms = {NOW_MS_SQL} + {_BACKOFF_MS},
    data = coalesce(excluded.data, p.data)
RETURNING tries, last_error
"""

_DUE = f"""
SELECT key, data, tries FROM dredge_poison WHERE stage = %s AND due_ms <= {NOW_MS_SQL}
ORDER BY due_ms LIMIT %s
"""

# The key of the row that counts the attempts at a batch; `data` is the last item of the largest that died.
_BATCH = "(batch)"
# The stage of a review's batches.
REVIEW_BATCH = "review.batch"
# The row is of an item, not of a batch.
_OF_AN_ITEM = f"key <> '{_BATCH}' AND stage <> '{REVIEW_BATCH}'"
_BEGIN_BATCH = f"""
INSERT INTO dredge_poison AS p (stage, key, created_ms, due_ms, tries, last_error, data)
VALUES (%(stage)s, '{_BATCH}', {NOW_MS_SQL}, {NOW_MS_SQL}, 1, '{NO_END}', %(last)s::text)
ON CONFLICT (stage, key) DO UPDATE SET tries = p.tries + 1,
    data = greatest(p.data::bigint, %(last)s)::text
"""
# Smaller batches are taken until the one that died is behind them.
_END_BATCH = f"""
WITH behind AS (
    DELETE FROM dredge_poison WHERE stage = %(stage)s AND key = '{_BATCH}'
      AND (tries <= 1 OR data::bigint <= %(last)s)
)
UPDATE dredge_poison SET tries = tries - 1 WHERE stage = %(stage)s AND key = '{_BATCH}'
  AND tries > 1 AND data::bigint > %(last)s
"""

_LIST = f"""
SELECT stage, key, created_ms, due_ms, tries, last_error FROM dredge_poison WHERE {_OF_AN_ITEM}
ORDER BY tries DESC, stage, key LIMIT %s
"""

_COUNT = f"""
SELECT stage, count(*) AS n FROM dredge_poison WHERE {_OF_AN_ITEM} GROUP BY stage ORDER BY stage
"""

# For each stage the statement that makes waiting rows due.  Running work is not disturbed: it has a lease.
_RETRY = {
    "collect": f"UPDATE dredge_due SET next_try_ms = {NOW_MS_SQL} WHERE attempts > 0",
    "erase": f"""UPDATE dredge_tombstone SET due_ms = greatest({NOW_MS_SQL}, coalesce(fenced_until_ms, 0))
                 WHERE tries > 0 AND due_ms > {NOW_MS_SQL}""",
    # One that a process holds may be tried again when its lease must be over.
    "quarantine": f"""UPDATE dredge_quarantine SET look_ms = CASE WHEN token > 0
                        THEN least(look_ms, {NOW_MS_SQL} + 60000) ELSE {NOW_MS_SQL} END
                      WHERE tries > 0 AND look_ms > {NOW_MS_SQL}""",
    "purge": f"UPDATE dredge_purge SET retry_ms = {NOW_MS_SQL} WHERE failures > 0",
    "reports": f"UPDATE dredge_report_debt SET due_ms = {NOW_MS_SQL} WHERE tries > 0",
}
_RETRY_POISON = f"""
UPDATE dredge_poison SET due_ms = {NOW_MS_SQL}
WHERE %(stage)s IN ('', stage) AND %(key)s IN ('', key) AND {_OF_AN_ITEM}
"""

# Their items are events: an event about each could fail like the item, and so on.
EVENT_STAGES = ("relay", "consumer")

STAGES = ("collect", "review", "relay", "consumer", "reports", "erase", "quarantine", "sweep", "purge")


@dataclass(frozen=True)
class Poisoned:
    """An item that a stage cannot process."""

    stage: str
    key: str
    created_ms: int
    due_ms: int
    tries: int
    last_error: str


@dataclass(frozen=True)
class DuePoison:
    """An item whose next try has come; `data` is the content that its row keeps."""

    key: str
    data: str | None
    tries: int


def attempt(stage: str, key: str, data: str | None = None) -> int:
    """Count an attempt at an item, before the work.  Returns the number of attempts.

    Call it outside of the work's transaction.  The next try is 30 seconds later; each attempt doubles that
    time, up to a day.  The sixth attempt records `registry.work.failing`.
    """
    with transaction():
        row = fetch_one(_ATTEMPT, {"stage": stage, "key": key, "no_end": NO_END, "data": data})
        if stage not in EVENT_STAGES:
            tell_failing(stage, key, tries=row.tries - 1, reason=row.last_error)
    return int(row.tries)


def record_error(stage: str, key: str, error: str) -> None:
    """Note why the attempt failed."""
    execute(
        "UPDATE dredge_poison SET last_error = %s WHERE stage = %s AND key = %s",
        (shortened(error), stage, key),
    )


def clear(stage: str, key: str) -> None:
    """Delete an item that its stage has processed.  Idempotent."""
    execute("DELETE FROM dredge_poison WHERE stage = %s AND key = %s", (stage, key))


def count_batch_failures(stage: str) -> int:
    """Return how many batches of a stage died one after the other; only reads."""
    row = fetch_one("SELECT tries FROM dredge_poison WHERE stage = %s AND key = %s", (stage, _BATCH))
    return int(row.tries) if row else 0


def begin_batch(stage: str, *, last: int) -> None:
    """Count an attempt at a batch that ends with the item `last`, before the work and outside of its
    transaction.
    """
    execute(_BEGIN_BATCH, {"stage": stage, "last": last})


def end_batch(stage: str, *, last: int) -> None:
    """Take back the attempt at a batch that ended, well or with an error that no item of it caused.

    `last` is the last item that it is done with, or 0.
    """
    execute(_END_BATCH, {"stage": stage, "last": last})


def leave_batch(stage: str, *, last: int) -> None:
    """Forget a batch that died if its last item is not after `last`, which was handled alone.  Idempotent."""
    execute(
        "DELETE FROM dredge_poison WHERE stage = %s AND key = %s AND data::bigint <= %s",
        (stage, _BATCH, last),
    )


def find_due(stage: str, *, limit: int) -> list[DuePoison]:
    """Return at most `limit` items of a stage whose next try has come, longest waiting first; only reads."""
    return [DuePoison(*row) for row in fetch(_DUE, (stage, limit))]


def is_waiting(stage: str, key: str) -> bool:
    """Return whether an item is set aside and its next try has not come."""
    row = fetch_one(
        f"SELECT FROM dredge_poison WHERE stage = %s AND key = %s AND due_ms > {NOW_MS_SQL}", (stage, key)
    )
    return row is not None


def list_poison(*, limit: int) -> list[Poisoned]:
    """Return at most `limit` items that are set aside, worst first; only reads."""
    return [Poisoned(*row) for row in fetch(_LIST, (limit,))]


def count_poison() -> dict[str, int]:
    """Return how many items each stage has set aside."""
    return {row.stage: row.n for row in fetch(_COUNT)}


def retry(stage: str = "", key: str = "") -> int:
    """Make waiting items due: of one stage or all, one item or all.  Returns how many."""
    done = execute(_RETRY_POISON, {"stage": stage, "key": key})
    if not key:
        done += sum(execute(sql) for name, sql in _RETRY.items() if stage in ("", name))
    return done


_PRUNE = """
DELETE FROM dredge_poison WHERE due_ms < %(before_ms)s
    OR (stage = 'consumer' AND created_ms < %(before_ms)s)
"""


def prune_poison(*, before_ms: int) -> int:
    """Delete messages parked before `before_ms`, and items not tried since then.  Returns how many.

    Safe: an item that still exists and still fails is set aside again.
    """
    return execute(_PRUNE, {"before_ms": before_ms})
