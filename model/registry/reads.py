"""Read the registry.  Only reads; what does not exist is None or an empty page."""

from __future__ import annotations

from model import blob_list as inventory
from model import manifest, namespace, security
from model import repository as repositories
from model.blob_list import BlobPage
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import BadInput
from model.registry.arguments import (
    MAX_ID,
    RepositoryRef,
    checked_digest,
    checked_limit,
    checked_name,
    find_repository,
)
from model.registry.descriptors import ReferrerDescriptor, describe
from model.repository import CataloguePage, Repository
from model.security import SecurityStatus
from model.tag import Tag
from model.tag.rows import TagPage, find_active_page, find_alive


@connection()
def get_repository(repository: RepositoryRef) -> Repository:
    """Return the repository.  Raises `NoSuchRepository`, also if it is marked for deletion."""
    return find_repository(repository)


@connection()
def get_tag(repository: RepositoryRef, name: str) -> Tag | None:
    """Return the alive, visible tag of that name, or None."""
    checked_name(name)
    alive = find_alive(find_repository(repository).id, name, now_ms=now_ms())
    return alive[0] if alive else None


@connection()
def list_active_tags(repository: RepositoryRef, *, last: str | None = None, limit: int = 100) -> TagPage:
    """Return at most `limit` alive, visible tags in the order of their names, after the name `last`."""
    if last is not None:
        checked_name(last)
    checked_limit(limit)
    return find_active_page(find_repository(repository).id, last=last, limit=limit, now_ms=now_ms())


@connection()
def get_manifest(repository: RepositoryRef, reference: str) -> manifest.FoundManifest | None:
    """Return a manifest by its digest, until it is collected, or by the name of an alive tag; or None."""
    found = find_repository(repository)
    if isinstance(reference, str) and ":" in reference:
        return manifest.find_manifest(found.id, checked_digest(reference))
    alive = find_alive(found.id, checked_name(reference), now_ms=now_ms())
    return manifest.find_manifest(found.id, alive[0].digest) if alive else None


@connection()
def list_referrers(
    repository: RepositoryRef, digest: str, *, artifact_type: str | None = None
) -> tuple[ReferrerDescriptor, ...]:
    """Return the manifests of the repository with the subject `digest`, oldest first; of one type, if given.

    The subject itself need not exist (yet).
    """
    checked_digest(digest)
    if artifact_type is not None and (not isinstance(artifact_type, str) or not artifact_type):
        raise BadInput("An artifact type must be a media type", got=repr(artifact_type)[:80])
    found = manifest.find_referrers(find_repository(repository).id, digest)
    described = (describe(referrer) for referrer in found)
    return tuple(d for d in described if artifact_type in (None, d.artifact_type))


@connection()
def find_blob(repository: RepositoryRef, digest: str) -> inventory.FoundBlob | None:
    """Return a ready blob that a manifest or a running push of this repository refers to, or None."""
    checked_digest(digest)
    return inventory.find_blob(find_repository(repository).id, digest, now_ms=now_ms())


@connection()
def list_blobs(repository: RepositoryRef, *, after_id: int = 0, limit: int = 100) -> BlobPage:
    """Return at most `limit` blobs of the repository with an id above `after_id`, by id."""
    checked_limit(limit)
    found = find_repository(repository)
    return inventory.find_blobs(found.id, now_ms=now_ms(), after_id=_start(after_id), limit=limit)


@connection()
def catalogue(username: str | None = None, *, start_id: int = 0, limit: int = 100) -> CataloguePage:
    """Return at most `limit` image repositories that `username` may see (None: anybody), from that id on."""
    checked_limit(limit)
    if username is not None and not isinstance(username, str):
        raise BadInput("A user's name must be text", got=repr(username)[:80])
    return repositories.catalogue_page(username, start_id=_start(start_id), limit=limit)


@connection()
def security_status(repository: RepositoryRef, digest: str) -> SecurityStatus | None:
    """Return how far the security scanner got with this repository's manifest."""
    checked_digest(digest)
    return security.find_status(find_repository(repository).id, digest)


@connection()
def geo_restrictions(name: str) -> tuple[str, ...]:
    """Return codes of the regions that may not pull from a namespace; empty if there is no such namespace."""
    if not isinstance(name, str):
        raise BadInput("A namespace's name must be text", got=repr(name)[:80])
    return namespace.geo_restrictions(name)


def _start(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ID:
        raise BadInput(f"A page starts at a whole number from 0 to {MAX_ID}", got=repr(value)[:80])
    return value
