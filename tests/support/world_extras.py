"""Factories for rows that depend on repositories, blobs, manifests and tags."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from tests.support.rows import Row, Rows, timestamp

HOUR_MS = 3_600_000


class Extras(Rows):
    """Uploads, quota, statistics, reports and notifications; each an independent row."""

    @property
    def repository_id(self) -> int:
        """Return the repository of rows for which no other one is given; `World` defines it."""
        raise NotImplementedError

    def uploaded(self, blob: int, *, repository: int | None = None, expires_ms: int | None = None) -> Row:
        """Add a push's hold on a blob, by default for another hour."""
        expires_ms = self.now_ms + HOUR_MS if expires_ms is None else expires_ms
        columns = {
            "uploaded_at": timestamp(max(0, expires_ms - HOUR_MS)),
            "expires_at": timestamp(expires_ms),
        }
        where = self.repository_id if repository is None else int(repository)
        return Row(self.insert("uploadedblob", repository_id=where, blob_id=int(blob), **columns))

    def upload(
        self,
        *,
        repository: int | None = None,
        created_ms: int | None = None,
        location: str = "local_us",
        chunks: Sequence[str] = (),
    ) -> Row:
        """Add an upload in progress, as Quay writes it; with `chunks`, as on an object store."""
        key = str(uuid.uuid4())
        named = {"chunks": [[path, 10 * n, 10] for n, path in enumerate(chunks)]} if chunks else {}
        id = self.insert(
            "blobupload",
            repository_id=self.repository_id if repository is None else int(repository),
            uuid=key,
            byte_count=10 * len(chunks),
            chunk_count=len(chunks),
            location_id=self.lookup("imagestoragelocation", location),
            storage_metadata=json.dumps(named),
            created=timestamp(self.now_ms if created_ms is None else created_ms),
        )
        return Row(id, uuid=key)

    def quota(self, repository: int | None = None) -> Row:
        """Write exact quota rows of the repository and its namespace; a second call counts again."""
        where = self.repository_id if repository is None else int(repository)
        owner = self.value("SELECT namespace_user_id FROM repository WHERE id = %s", (where,))
        size = self._bytes("mb.repository_id = %s", where)
        whole = self._bytes(
            "mb.repository_id IN (SELECT id FROM repository WHERE namespace_user_id = %s)", owner
        )
        self._set_quota("quotanamespacesize", "namespace_user_id", owner, whole)
        id = self._set_quota("quotarepositorysize", "repository_id", where, size)
        return Row(id, bytes=size, namespace_bytes=whole)

    def _bytes(self, condition: str, value: int) -> int:
        return int(
            self.value(
                "SELECT coalesce(sum(image_size), 0) FROM imagestorage WHERE id IN"
                f" (SELECT mb.blob_id FROM manifestblob mb WHERE {condition})",
                (value,),
            )
        )

    def _set_quota(self, table: str, column: str, owner: int, size: int) -> int:
        return int(
            self.value(
                f"INSERT INTO {table} ({column}, size_bytes, backfill_start_ms, backfill_complete)"
                " VALUES (%s, %s, 0, true)"
                f" ON CONFLICT ({column}) DO UPDATE SET size_bytes = excluded.size_bytes RETURNING id",
                (owner, size),
            )
        )

    def security(self, manifest: Row, *, status: int = 2) -> Row:
        """Add the security scanner's status of the manifest."""
        id = self.insert(
            "manifestsecuritystatus",
            manifest_id=int(manifest),
            repository_id=int(manifest.repository),
            index_status=status,
            error_json="[]",
            last_indexed=timestamp(self.now_ms),
            indexer_hash="abc",
            indexer_version=4,
            metadata_json="{}",
        )
        return Row(id, manifest=manifest)

    def tag_pulls(self, name: str, *, repository: int | None = None, count: int = 1) -> Row:
        """Add pull statistics of a tag's name."""
        id = self.insert(
            "tagpullstatistics",
            repository_id=self.repository_id if repository is None else int(repository),
            tag_name=name,
            tag_pull_count=count,
            last_tag_pull_date=timestamp(self.now_ms),
        )
        return Row(id, name=name)

    def manifest_pulls(self, manifest: Row, *, count: int = 1) -> Row:
        """Add pull statistics of a manifest's digest."""
        id = self.insert(
            "manifestpullstatistics",
            repository_id=int(manifest.repository),
            manifest_digest=manifest.digest,
            manifest_pull_count=count,
            last_manifest_pull_date=timestamp(self.now_ms),
        )
        return Row(id, manifest=manifest)

    def notification(self, *, repository: int | None = None, event: str = "repo_image_expiry") -> Row:
        """Add a repository's subscription by webhook."""
        id = self.insert(
            "repositorynotification",
            uuid=str(uuid.uuid4()),
            repository_id=self.repository_id if repository is None else int(repository),
            event_id=self.lookup("externalnotificationevent", event),
            method_id=self.lookup("externalnotificationmethod", "webhook"),
            config_json="{}",
            event_config_json="{}",
            number_of_failures=0,
        )
        return Row(id)

    def notified(self, tag: int, *, notification: int | None = None) -> Row:
        """Record that a notification about the tag was sent."""
        sent = self.notification() if notification is None else notification
        method = self.lookup("externalnotificationmethod", "webhook")
        columns = {"notification_id": int(sent), "tag_id": int(tag), "method_id": method}
        return Row(self.insert("tagnotificationsuccess", **columns))

    def signature(self, blob: int) -> Row:
        """Add a legacy signature of a blob."""
        kind = self.lookup("imagestoragesignaturekind", "gpg2")
        columns = {"storage_id": int(blob), "kind_id": kind, "signature": "sig", "uploading": False}
        return Row(self.insert("imagestoragesignature", **columns))

    def permission(self, user: int, *, repository: int | None = None, role: str = "read") -> Row:
        """Add a user's role in a repository."""
        where = self.repository_id if repository is None else int(repository)
        columns = {"user_id": int(user), "repository_id": where, "role_id": self.lookup("role", role)}
        return Row(self.insert("repositorypermission", **columns))

    def mark_deleted(self, repository: Row) -> Row:
        """Mark the repository for deletion, as Quay does."""
        self.execute(
            "UPDATE repository SET state = 3, name = %s WHERE id = %s", (str(uuid.uuid4()), int(repository))
        )
        marked = timestamp(self.now_ms)
        columns = {"repository_id": int(repository), "marked": marked, "original_name": repository.name}
        return Row(self.insert("deletedrepository", **columns))
