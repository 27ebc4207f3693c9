"""Manifest candidates: manifests that a collection must judge although no tag leads to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from model.db.arrays import BigIntArray, IntArray
from model.db.connection import execute

_JUDGE_NEXT = """
INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms)
    SELECT m.repository_id, m.id, %s FROM manifest m WHERE m.id = ANY(%s)
"""


def judge_next(manifest_ids: Iterable[int], *, now_ms: int) -> None:
    """Record manifests for the next collection of their repositories; duplicates do no harm."""
    execute(_JUDGE_NEXT, (now_ms, IntArray(manifest_ids)))


_JUDGE_LATER = """
INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms, due_ms)
    SELECT m.repository_id, m.id, %s, w.due_ms FROM unnest(%s, %s) AS w (id, due_ms)
    JOIN manifest m ON m.id = w.id
"""


def judge_later(due: Mapping[int, int], *, now_ms: int) -> None:
    """Record manifests to judge from a time on: {id: milliseconds}; duplicates do no harm."""
    execute(_JUDGE_LATER, (now_ms, IntArray(due), BigIntArray(due.values())))
