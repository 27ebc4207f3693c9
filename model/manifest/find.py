"""Find manifests.  Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from model.db.arrays import IntArray
from model.db.connection import fetch


@dataclass(frozen=True)
class FoundManifest:
    """A manifest as it is stored."""

    manifest_id: int
    digest: str
    media_type: str
    text: str
    subject: str | None
    artifact_type: str | None


@dataclass(frozen=True)
class ManifestSize:
    """The bytes of a manifest's layers (None: not counted), and whether it is an index."""

    bytes: int | None
    is_index: bool


_SIZES = """
SELECT m.id, m.layers_compressed_size AS bytes,
       t.name IN ('application/vnd.oci.image.index.v1+json',
                  'application/vnd.docker.distribution.manifest.list.v2+json') AS is_index
FROM manifest m JOIN mediatype t ON t.id = m.media_type_id WHERE m.id = ANY(%s)
"""


_SELECT = """
SELECT m.id, m.digest, t.name, m.manifest_bytes, m.subject, m.artifact_type
    FROM manifest m JOIN mediatype t ON t.id = m.media_type_id
"""

_BY_DIGEST = f"{_SELECT} WHERE m.repository_id = %s AND m.digest = %s ORDER BY m.id"
_REFERRERS = f"{_SELECT} WHERE m.repository_id = %s AND m.subject = %s ORDER BY m.id"


def read_manifest_sizes(ids: Iterable[int]) -> dict[int, ManifestSize]:
    """Return the sizes of those of these manifests that exist, by id."""
    return {row.id: ManifestSize(row.bytes, row.is_index) for row in fetch(_SIZES, (IntArray(ids),))}


def find_manifest(repository_id: int, digest: str) -> FoundManifest | None:
    """Return the repository's manifest of that digest, or None."""
    found = _find(_BY_DIGEST, (repository_id, digest))
    return found[0] if found else None


def find_referrers(repository_id: int, digest: str) -> list[FoundManifest]:
    """Return the manifests of the repository that have the subject `digest`, oldest first."""
    return _find(_REFERRERS, (repository_id, digest))


def _find(sql: str, params: Sequence[Any]) -> list[FoundManifest]:
    return [FoundManifest(*row) for row in fetch(sql, params)]
