"""One loader for each kind of cache entry: what the database says now, as JSON-able values.

None means that there is nothing; the caller of the cache decides whether that is worth keeping.
(The ninth kind, a token of an upstream registry, is loaded by the caller that talks to that registry.)
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from model import blob_list, manifest, namespace, security
from model import repository as repositories
from model.db.clock import now_ms
from model.db.connection import connection
from model.registry.descriptors import describe
from model.repository import Repository
from model.tag.rows import find_active_page

Json = dict[str, Any]


@connection()
def load_repository(name_of_namespace: str, name: str, *, kind: str | None = None) -> Json | None:
    """A repository by name; None for one that is marked for deletion, or of another kind."""
    found = repositories.by_name(name_of_namespace, name, kind=kind)
    return _repository(found) if found else None


@connection()
def load_manifest(repository_id: int, digest: str) -> Json | None:
    """A manifest with its text."""
    found = manifest.find_manifest(repository_id, digest)
    return asdict(found) if found else None


@connection()
def load_active_tags(repository_id: int, *, last: str | None = None, limit: int = 100) -> Json:
    """A page of alive, visible tags by name, each with its end if it has one."""
    page = find_active_page(repository_id, last=last, limit=limit, now_ms=now_ms())
    tags = [
        {
            "id": tag.id,
            "name": tag.name,
            "digest": tag.digest,
            "start_ms": tag.start_ms,
            "end_ms": tag.end_ms,
        }
        for tag in page.tags
    ]
    return {"tags": tags, "has_more": page.has_more}


@connection()
def load_blob(name_of_namespace: str, name: str, digest: str) -> Json | None:
    """A ready blob as one repository sees it."""
    where = repositories.by_name(name_of_namespace, name)
    found = blob_list.find_blob(where.id, digest, now_ms=now_ms()) if where else None
    return asdict(found) | {"locations": list(found.locations)} if found else None


@connection()
def load_catalogue_page(username: str | None, *, start_id: int = 0, limit: int = 100) -> Json:
    """A page of the repositories that a user (None: anybody) may see."""
    page = repositories.catalogue_page(username, start_id=start_id, limit=limit)
    return {"repositories": [_repository(r) for r in page.repositories], "next_id": page.next_id}


@connection()
def load_geo_restrictions(name_of_namespace: str) -> list[str]:
    """Codes of the regions that may not pull from a namespace."""
    return list(namespace.geo_restrictions(name_of_namespace))


@connection()
def load_security_report(digest: str) -> Json | None:
    """The best that the scanner has said about a digest in any repository."""
    found = security.find_report(digest)
    return asdict(found) if found else None


@connection()
def load_referrers(repository_id: int, digest: str, *, artifact_type: str | None = None) -> list[Json]:
    """Descriptors of the manifests that name the digest as their subject, oldest first."""
    described = map(describe, manifest.find_referrers(repository_id, digest))
    return [d.as_json() for d in described if artifact_type in (None, d.artifact_type)]


def _repository(found: Repository) -> Json:
    """Without the window and the namespace's state, which change without telling the cache."""
    kept = ("id", "namespace_id", "namespace", "name", "kind", "visibility", "state")
    return {name: getattr(found, name) for name in kept}
