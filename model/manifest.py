"""Manifests of a repository: found, and created with everything that they refer to."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model import oci
from model.database import IntArray, execute, fetch, fetch_one, transaction
from model.errors import (
    BadManifest,
    Contended,
    NoSuchBlob,
    NoSuchManifest,
    NoSuchRepository,
    SchemaMismatch,
)
from model.oci import Document
from model.policy import Policy
from model.reach import REFERRED
from model.tables.repository import RepositoryState

TEMPORARY_PREFIX = "$temp-"
_TRIES = 5


@dataclass(frozen=True)
class Created:
    """A manifest's row; `new` unless it was there before."""

    manifest_id: int
    digest: str
    media_type: str
    subject: str | None
    new: bool


@dataclass(frozen=True)
class Found:
    """A manifest as it is stored."""

    manifest_id: int
    digest: str
    media_type: str
    text: str
    subject: str | None
    artifact_type: str | None


def find_manifest(repository_id: int, digest: str) -> Found | None:
    """The repository's manifest of that digest, or None."""
    found = _find("m.repository_id = %s AND m.digest = %s", (repository_id, digest))
    return found[0] if found else None


def find_referrers(repository_id: int, digest: str) -> list[Found]:
    """The manifests of the repository that name `digest` as their subject, oldest first."""
    return _find("m.repository_id = %s AND m.subject = %s", (repository_id, digest))


def _find(where: str, params: Sequence[Any]) -> list[Found]:
    rows = fetch(
        "SELECT m.id, m.digest, t.name, m.manifest_bytes, m.subject, m.artifact_type"
        f" FROM manifest m JOIN mediatype t ON t.id = m.media_type_id WHERE {where} ORDER BY m.id",
        params,
    )
    return [Found(*row) for row in rows]


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

    One transaction, in the order manifests, blobs, quota.  Raises `BadManifest`, `NoSuchBlob` or
    `NoSuchManifest` (a child; `allow_missing_children` takes sparse indexes) with nothing changed.
    A hidden tag keeps it for `policy.push_ttl_ms`, or for good where it has a subject;
    `protect=False` is for a caller that tags it in the same transaction.  Pushing a manifest again
    changes nothing but renews that protection and links children that have arrived since.
    """
    document = content if isinstance(content, Document) else oci.parse(content, media_type=media_type)
    with transaction():
        children = _lock_children(repository_id, document, allow_missing_children)
        manifest_id, new = _find_or_insert(repository_id, document)
        if new:
            blobs = _lock_blobs(repository_id, document, now_ms)
            _add_to_quota(repository_id, blobs)
            _link_blobs(repository_id, manifest_id, blobs)
            _add_labels(repository_id, manifest_id, labels or {})
        _link_children(repository_id, manifest_id, children)
        if protect or document.subject:
            _protect(repository_id, manifest_id, document, policy, now_ms)
    subject = document.subject.digest if document.subject else None
    return Created(manifest_id, document.digest, document.media_type, subject, new)


def _lock_children(repository_id: int, document: Document, allow_missing: bool) -> Sequence[int]:
    """Children are locked before they are linked: one that a collection has just judged is waited for."""
    if not document.children:
        return ()
    wanted = list(dict.fromkeys(child.digest for child in document.children))
    rows = fetch(
        "SELECT id, digest FROM manifest WHERE repository_id = %s AND digest = ANY(%s)"
        " ORDER BY id FOR KEY SHARE",
        (repository_id, wanted),
    )
    missing = set(wanted) - {row.digest for row in rows}
    if missing and not allow_missing:
        first = next(digest for digest in wanted if digest in missing)
        raise NoSuchManifest("The index lists a manifest that is not in the repository", digest=first)
    return [row.id for row in rows]


def _find_or_insert(repository_id: int, document: Document) -> tuple[int, bool]:
    """The manifest's row, locked, and whether it is new.

    A collection that holds the row is waited for: it is gone then, and inserted again.  The lock on
    a row that was found lets tags be added but makes two pushes of it take turns.
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
    raise Contended("The manifest is pushed and collected at once", digest=document.digest)


def _insert(repository_id: int, document: Document) -> Any:
    wanted = fetch_one(
        "SELECT r.state, (SELECT id FROM mediatype WHERE name = %s) AS media_type_id"
        " FROM repository r WHERE r.id = %s FOR KEY SHARE OF r",
        (document.media_type, repository_id),
    )
    if wanted is None or wanted.state == RepositoryState.MARKED_FOR_DELETION:
        raise NoSuchRepository(repository_id=repository_id)
    if wanted.media_type_id is None:
        raise SchemaMismatch("The database lacks a media type: run `dredge init`", name=document.media_type)
    return fetch_one(
        "INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes, config_media_type,"
        " layers_compressed_size, subject, subject_backfilled, artifact_type, artifact_type_backfilled)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, true, %s, true)"
        " ON CONFLICT (repository_id, digest) DO NOTHING RETURNING id",
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


def _lock_blobs(repository_id: int, document: Document, now_ms: int) -> list[int]:
    """The rows of the manifest's blobs, locked in id order before they are linked.

    A row that the review holds is waited for: it is gone then (`NoSuchBlob`), or stays; one that
    is locked here is skipped by the review.
    """
    wanted = document.blobs
    rows = fetch(
        "SELECT b.id, b.content_checksum AS digest, b.image_size AS size FROM imagestorage b"
        " WHERE b.content_checksum = ANY(%(digests)s) AND NOT coalesce(b.uploading, false)"
        f" AND {REFERRED} ORDER BY b.id FOR KEY SHARE OF b",
        {"digests": list(wanted), "repository": repository_id, "at": now_ms},
    )
    found = {row.digest: row for row in reversed(rows)}
    for digest, descriptor in wanted.items():
        if digest not in found:
            raise NoSuchBlob(digest=digest)
        stored = found[digest].size
        if stored is not None and stored != descriptor.size:
            raise BadManifest(
                "The manifest gives a blob another size than it has",
                digest=digest,
                size=stored,
                stated=descriptor.size,
            )
    return sorted(row.id for row in found.values())


def _add_to_quota(repository_id: int, blob_ids: Sequence[int]) -> None:
    """Count what is new to the repository and to its namespace, where these have rows.

    The rows are locked first, repository before namespace: of two pushes of one new blob, and of a
    push and a collection, the second one counts what the first left.
    """
    repository = fetch_one(
        "SELECT id FROM quotarepositorysize WHERE repository_id = %s FOR NO KEY UPDATE", (repository_id,)
    )
    namespace = fetch_one(
        "SELECT q.id, q.namespace_user_id FROM quotanamespacesize q"
        " WHERE q.namespace_user_id = (SELECT namespace_user_id FROM repository WHERE id = %s)"
        " FOR NO KEY UPDATE",
        (repository_id,),
    )
    new_bytes = (
        "coalesce((SELECT sum(b.image_size) FROM imagestorage b WHERE b.id = ANY(%s) AND NOT EXISTS ({})), 0)"
    )
    if repository:
        held = "SELECT FROM manifestblob m WHERE m.repository_id = %s AND m.blob_id = b.id"
        execute(
            f"UPDATE quotarepositorysize SET size_bytes = size_bytes + {new_bytes.format(held)}"
            " WHERE id = %s",
            (IntArray(blob_ids), repository_id, repository.id),
        )
    if namespace:
        held = (
            "SELECT FROM manifestblob m JOIN repository r ON r.id = m.repository_id"
            " WHERE m.blob_id = b.id AND r.namespace_user_id = %s"
        )
        execute(
            f"UPDATE quotanamespacesize SET size_bytes = size_bytes + {new_bytes.format(held)} WHERE id = %s",
            (IntArray(blob_ids), namespace.namespace_user_id, namespace.id),
        )


def _link_blobs(repository_id: int, manifest_id: int, blob_ids: Sequence[int]) -> None:
    execute(
        "INSERT INTO manifestblob (repository_id, manifest_id, blob_id) SELECT %s, %s, unnest(%s)",
        (repository_id, manifest_id, IntArray(blob_ids)),
    )


def _link_children(repository_id: int, manifest_id: int, child_ids: Sequence[int]) -> None:
    if child_ids:
        execute(
            "INSERT INTO manifestchild (repository_id, manifest_id, child_manifest_id)"
            " SELECT %s, %s, unnest(%s) ON CONFLICT (manifest_id, child_manifest_id) DO NOTHING",
            (repository_id, manifest_id, IntArray(child_ids)),
        )


def _add_labels(repository_id: int, manifest_id: int, labels: Mapping[str, str]) -> None:
    if labels:
        execute(
            "WITH made AS (INSERT INTO label (uuid, key, value, media_type_id, source_type_id)"
            " SELECT l.uuid, l.key, l.value, (SELECT id FROM mediatype WHERE name = 'text/plain'),"
            " (SELECT id FROM labelsourcetype WHERE name = 'manifest')"
            " FROM unnest(%s, %s, %s) AS l (uuid, key, value) RETURNING id)"
            " INSERT INTO manifestlabel (repository_id, manifest_id, label_id) SELECT %s, %s, id FROM made",
            (
                [str(uuid.uuid4()) for _ in labels],
                list(labels),
                list(labels.values()),
                repository_id,
                manifest_id,
            ),
        )


def _protect(repository_id: int, manifest_id: int, document: Document, policy: Policy, now_ms: int) -> None:
    """Keep the manifest until somebody tags or adopts it: a referrer for good, others for a while."""
    if document.subject and _add_hidden_tag(repository_id, manifest_id, now_ms, None):
        return
    _add_hidden_tag(repository_id, manifest_id, now_ms, now_ms + policy.push_ttl_ms)


def _add_hidden_tag(repository_id: int, manifest_id: int, now_ms: int, end_ms: int | None) -> int:
    """A hidden tag with that end; one without an end only if there is none yet."""
    return execute(
        "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden,"
        " reversion, tag_kind_id, immutable)"
        " SELECT %(name)s, %(repository)s, %(manifest)s, %(now)s, %(end)s, true, false, k.id, false"
        " FROM tagkind k WHERE k.name = 'tag' AND (%(end)s::bigint IS NOT NULL OR NOT EXISTS"
        " (SELECT FROM tag t WHERE t.manifest_id = %(manifest)s AND t.hidden AND t.lifetime_end_ms IS NULL))",
        {
            "name": f"{TEMPORARY_PREFIX}{uuid.uuid4()}",
            "repository": repository_id,
            "manifest": manifest_id,
            "now": now_ms,
            "end": end_ms,
        },
    )
