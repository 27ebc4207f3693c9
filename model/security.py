"""The results of the security scanner for manifests.  Only reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from model.db.connection import fetch_one
from model.db.tables import IndexStatus

_SELECT = """
SELECT m.digest, s.index_status, s.error_json, s.last_indexed, s.indexer_hash, s.indexer_version,
    s.metadata_json FROM manifestsecuritystatus s JOIN manifest m ON m.id = s.manifest_id
"""


@dataclass(frozen=True)
class SecurityStatus:
    """How far the scanner got with a manifest; `state` is failed, queued, scanning or scanned."""

    digest: str
    state: str
    index_status: int
    last_indexed: str
    indexer_hash: str
    indexer_version: int
    errors: Any
    metadata: Any


def find_status(repository_id: int, digest: str) -> SecurityStatus | None:
    """Return the status of one repository's manifest; None if the scanner has no result."""
    return _status(
        fetch_one(f"{_SELECT} WHERE m.repository_id = %s AND m.digest = %s", (repository_id, digest))
    )


def find_report(digest: str) -> SecurityStatus | None:
    """Return the best status of the digest in any repository: a report depends only on the content."""
    return _status(
        fetch_one(
            f"{_SELECT} WHERE m.digest = %s ORDER BY s.index_status DESC, s.last_indexed DESC, s.id LIMIT 1",
            (digest,),
        )
    )


def _status(row: Any) -> SecurityStatus | None:
    if row is None:
        return None
    return SecurityStatus(
        digest=row.digest,
        state=_state(row.index_status),
        index_status=row.index_status,
        last_indexed=row.last_indexed.isoformat() + "Z",
        indexer_hash=row.indexer_hash,
        indexer_version=row.indexer_version,
        errors=_json(row.error_json),
        metadata=_json(row.metadata_json),
    )


def _state(index_status: int) -> str:
    if index_status < 0:
        return "failed"
    names = {IndexStatus.PENDING: "queued", IndexStatus.IN_PROGRESS: "scanning"}
    return names.get(IndexStatus(index_status), "scanned") if index_status <= 2 else "scanned"


def _json(text: str) -> Any:
    """Return what the scanner wrote, decoded; as text where it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
