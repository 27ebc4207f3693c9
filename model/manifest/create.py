"""Create a manifest with everything that it refers to, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model import oci
from model.db.connection import execute, fetch, fetch_one, transaction
from model.db.tables.repository import RepositoryState
from model.errors import Contended, NoSuchManifest, NoSuchRepository, SchemaMismatch
from model.manifest.candidate import judge_later
from model.manifest.links import add_labels, add_to_quota, link_blobs, link_children, lock_blobs
from model.oci import Document
from model.policy import Policy

TEMPORARY_PREFIX = "$temp-"
_TRIES = 5


@dataclass(frozen=True)
class Created:
    """A manifest's row; `new` is false if it existed before."""

    manifest_id: int
    digest: str
    media_type: str
    subject: str | None
    new: bool


def create_manifest(
    repository_id: int,
    content: bytes | Document,
    *,
    policy: Policy,
    now_ms: int,
    media_type: str | None = None,
    labels: Mapping[str, str] | None = None,
    allow_missing_children: bool = False,
    protect: bool = True,
) -> Created:
    """Store a manifest, its references to blobs and children, its labels and its quota.

    Runs one transaction, and locks manifests, then blobs, then quota.  Raises `BadManifest`, `NoSuchBlob` or
    `NoSuchManifest` (a child is missing; `allow_missing_children` accepts that) with nothing changed.
    A hidden tag keeps the manifest for `policy.push_ttl_ms`, or without end if it has a subject.  Use
    `protect=False` if the caller tags it in the same transaction.  Idempotent: a second push of a
    manifest only renews that protection, and links children that exist since.
    """
    document = content if isinstance(content, Document) else oci.parse(content, media_type=media_type)
    with transaction():
        children, subject_known = _lock_children(repository_id, document, allow_missing_children)
        manifest_id, new = _find_or_insert(repository_id, document)
        if new:
            blobs = lock_blobs(repository_id, document, now_ms)
            add_to_quota(repository_id, blobs)
            link_blobs(repository_id, manifest_id, blobs)
            add_labels(repository_id, manifest_id, labels or {})
        link_children(repository_id, manifest_id, children)
        if new and not subject_known and policy.referrers == "cascade":
            # The referrer's own tag never ends, so no tag would lead a collection to it.
            judge_later({manifest_id: now_ms + policy.referrer_grace_ms}, now_ms=now_ms)
        if protect or document.subject:
            _protect(repository_id, manifest_id, document, policy, now_ms)
    subject = document.subject.digest if document.subject else None
    return Created(manifest_id, document.digest, document.media_type, subject, new)


_LOCK_CHILDREN = """
SELECT id, digest FROM manifest WHERE repository_id = %s AND digest = ANY(%s)
    ORDER BY id FOR KEY SHARE
"""


def _lock_children(repository_id: int, document: Document, allow_missing: bool) -> tuple[Sequence[int], bool]:
    """Lock children and subject.  Returns the ids of the children, and whether the subject exists.

    Waits for a collection that judges one of them; after that it is deleted, or it stays.  A collection
    skips a locked subject, and judges it later together with its new referrer.
    """
    wanted = list(dict.fromkeys(child.digest for child in document.children))
    held = [*wanted, document.subject.digest] if document.subject else wanted
    if not held:
        return (), True
    rows = fetch(_LOCK_CHILDREN, (repository_id, held))
    found = {row.digest for row in rows}
    missing = set(wanted) - found
    if missing and not allow_missing:
        first = next(digest for digest in wanted if digest in missing)
        raise NoSuchManifest("The index lists a manifest that is not in the repository", digest=first)
    children = set(wanted)
    subject_known = document.subject is None or document.subject.digest in found
    return [row.id for row in rows if row.digest in children], subject_known


def _find_or_insert(repository_id: int, document: Document) -> tuple[int, bool]:
    """Find and lock the manifest's row, or insert it.  Returns its id, and whether it is new.

    Waits for a collection that has locked the row, and inserts the row again if it was deleted.  The lock
    of a row that exists allows new tags, but a second push of the manifest waits for it.
    """
    for _ in range(_TRIES):
        found = fetch_one(
            "SELECT id FROM manifest WHERE repository_id = %s AND digest = %s FOR NO KEY UPDATE",
            (repository_id, document.digest),
        )
        if found:
            return found.id, False
        made = _insert(repository_id, document)
        if made:
            return made.id, True
    raise Contended("The manifest is being collected while it is pushed", digest=document.digest)


_OWNER = """
SELECT r.state, (SELECT id FROM mediatype WHERE name = %s) AS media_type_id
    FROM repository r WHERE r.id = %s FOR KEY SHARE OF r
"""


_INSERT = """
INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes, config_media_type,
    layers_compressed_size, subject, subject_backfilled, artifact_type, artifact_type_backfilled)
    VALUES (%s, %s, %s, %s, %s, %s, %s, true, %s, true)
    ON CONFLICT (repository_id, digest) DO NOTHING RETURNING id
"""


def _insert(repository_id: int, document: Document) -> Any:
    wanted = fetch_one(_OWNER, (document.media_type, repository_id))
    if wanted is None or wanted.state == RepositoryState.MARKED_FOR_DELETION:
        raise NoSuchRepository(repository_id=repository_id)
    if wanted.media_type_id is None:
        raise SchemaMismatch("The database lacks a media type: run `dredge init`", name=document.media_type)
    return fetch_one(
        _INSERT,
        (
            repository_id,
            document.digest,
            wanted.media_type_id,
            document.text,
            document.config.media_type if document.config else None,
            document.layers_size,
            document.subject.digest if document.subject else None,
            document.artifact_type,
        ),
    )


def _protect(repository_id: int, manifest_id: int, document: Document, policy: Policy, now_ms: int) -> None:
    """Keep the manifest until it is tagged or adopted: a referrer without end, others for `push_ttl_ms`."""
    if document.subject and _add_hidden_tag(repository_id, manifest_id, now_ms, None):
        return
    _add_hidden_tag(repository_id, manifest_id, now_ms, now_ms + policy.push_ttl_ms)


_ADD_HIDDEN_TAG = """
INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden,
    reversion, tag_kind_id, immutable)
    SELECT %(name)s, %(repository)s, %(manifest)s, %(now)s, %(end)s, true, false, k.id, false
    FROM tagkind k WHERE k.name = 'tag' AND (%(end)s::bigint IS NOT NULL OR NOT EXISTS
    (SELECT FROM tag t WHERE t.manifest_id = %(manifest)s AND t.hidden AND t.lifetime_end_ms IS NULL))
"""


def _add_hidden_tag(repository_id: int, manifest_id: int, now_ms: int, end_ms: int | None) -> int:
    """Insert a hidden tag with that end; without an end, only if the manifest has no such tag."""
    return execute(
        _ADD_HIDDEN_TAG,
        {
            "name": f"{TEMPORARY_PREFIX}{uuid.uuid4()}",
            "repository": repository_id,
            "manifest": manifest_id,
            "now": now_ms,
            "end": end_ms,
        },
    )
