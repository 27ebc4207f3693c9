"""Collect row by row, in the steps of Quay's collector, for comparison.

Reads tags in chunks of ten. Uses a transaction for each tag, existence checks and one delete per table for
each manifest, and a transaction for each blob. Removes the same rows as the collector under the policy `pin`.
"""

from __future__ import annotations

import time
from typing import Any

from bench.contest import Run
from bench.count import counted, row_counts
from bench.lab import configured, peak_rss_mb, plain_planner
from model.db.clock import now_ms
from model.db.connection import execute, fetch, fetch_one, transaction

_CHUNK = 10
_HOUR_MS = 3_600_000


def run_baseline(url: str, budget_s: float) -> Run:
    """Collect repositories until none is left or the time is used up.  The work done so far counts."""
    with configured(url):
        plain_planner()
        before = row_counts()
        base_mb = peak_rss_mb()
        deadline = time.perf_counter() + budget_s
        with counted() as count:
            for row in fetch("SELECT id FROM repository ORDER BY id"):
                _Repository(row.id, deadline).collect()
                if time.perf_counter() > deadline:
                    break
        peak = peak_rss_mb()
        return Run.of(count, before, row_counts(), peak, peak - base_mb)


class _Repository:
    """One repository, and the rows that one chunk has found."""

    def __init__(self, repository_id: int, deadline: float) -> None:
        self.id = repository_id
        self._deadline = deadline
        self._namespace = fetch_one(
            "SELECT n.id, n.removed_tag_expiration_s * 1000 AS window_ms FROM repository r"
            ' JOIN "user" n ON n.id = r.namespace_user_id WHERE r.id = %s',
            (repository_id,),
        )
        self.manifests: set[int] = set()
        self.labels: set[int] = set()
        self.blobs: set[int] = set()

    def collect(self) -> None:
        """Collect chunks of tags, then of upload markers.  After each, delete the rows that it freed."""
        while time.perf_counter() < self._deadline and (tags := self._unrecoverable_tags()):
            for tag in tags:
                self._purge_tag(tag)
            self._free()
        while time.perf_counter() < self._deadline and (markers := self._expired_markers()):
            for marker in markers:
                self.blobs.add(marker.blob_id)
                execute("DELETE FROM uploadedblob WHERE id = %s", (marker.id,))
            self._free()
        execute(
            "DELETE FROM blobupload WHERE repository_id = %s AND created <="
            " to_timestamp(%s / 1000.0) AT TIME ZONE 'UTC'",
            (self.id, now_ms() - 48 * _HOUR_MS),
        )

    def _unrecoverable_tags(self) -> list[Any]:
        return fetch(
            "SELECT id, name, manifest_id, lifetime_end_ms FROM tag WHERE repository_id = %s"
            " AND lifetime_end_ms <= %s AND NOT immutable LIMIT %s",
            (self.id, now_ms() - self._namespace.window_ms, _CHUNK),
        )

    def _expired_markers(self) -> list[Any]:
        return fetch(
            "SELECT id, blob_id FROM uploadedblob WHERE repository_id = %s AND expires_at <="
            " to_timestamp(%s / 1000.0) AT TIME ZONE 'UTC' LIMIT %s",
            (self.id, now_ms(), _CHUNK),
        )

    def _purge_tag(self, tag: Any) -> None:
        self.manifests.add(tag.manifest_id)
        with transaction():
            again = fetch_one("SELECT * FROM tag WHERE id = %s FOR UPDATE", (tag.id,))
            if again is None or again.lifetime_end_ms != tag.lifetime_end_ms:
                return
            living = fetch_one(
                "SELECT id FROM tag WHERE repository_id = %s AND name = %s"
                " AND (lifetime_end_ms IS NULL OR lifetime_end_ms > %s) LIMIT 1",
                (self.id, tag.name, now_ms()),
            )
            if living is None:
                execute(
                    "DELETE FROM tagpullstatistics WHERE repository_id = %s AND tag_name = %s",
                    (self.id, tag.name),
                )
            execute("DELETE FROM tagnotificationsuccess WHERE tag_id = %s", (tag.id,))
            execute("DELETE FROM tag WHERE id = %s", (tag.id,))

    def _free(self) -> None:
        """Walk down from the chunk's manifests, then delete unused ones until nothing changes."""
        self._discover()
        changed = True
        while changed:
            removed = [id for id in list(self.manifests) if self._remove_manifest(id)]
            self.manifests.difference_update(removed)
            labels = self._remove_labels()
            blobs = [id for id in list(self.blobs) if self._remove_blob(id)]
            self.blobs.difference_update(blobs)
            changed = bool(removed or labels or blobs)
        self.manifests.clear()
        self.labels.clear()
        self.blobs.clear()

    def _discover(self) -> None:
        level = list(self.manifests)
        while level:
            self.blobs |= _column("SELECT blob_id FROM manifestblob WHERE manifest_id = ANY(%s)", level)
            self.labels |= _column("SELECT label_id FROM manifestlabel WHERE manifest_id = ANY(%s)", level)
            children = _column(
                "SELECT child_manifest_id FROM manifestchild WHERE manifest_id = ANY(%s)", level
            )
            level = list(children - self.manifests)
            self.manifests |= children

    def _used(self, manifest_id: int) -> bool:
        return any(
            fetch_one(sql, (manifest_id,))
            for sql in (
                "SELECT * FROM tag WHERE manifest_id = %s LIMIT 1",
                "SELECT * FROM manifestchild WHERE child_manifest_id = %s LIMIT 1",
                "SELECT m.id FROM manifest m WHERE m.id = %s AND EXISTS (SELECT FROM manifest r"
                " WHERE r.repository_id = m.repository_id AND r.subject = m.digest)",
            )
        )

    def _remove_manifest(self, manifest_id: int) -> bool:
        if self._used(manifest_id):
            return False
        with transaction():
            manifest = fetch_one("SELECT * FROM manifest WHERE id = %s", (manifest_id,))
            if manifest is None or self._used(manifest_id):
                return False
            for table in ("manifestlabel", "manifestchild"):
                self._delete_of(table, manifest_id)
            sizes = fetch(
                "SELECT b.id, b.image_size FROM imagestorage b JOIN manifestblob mb ON mb.blob_id = b.id"
                " WHERE mb.manifest_id = %s AND mb.repository_id = %s",
                (manifest_id, self.id),
            )
            self._delete_of("manifestblob", manifest_id)
            self._subtract(sizes)
            self._delete_of("manifestsecuritystatus", manifest_id)
            execute(
                "DELETE FROM manifestpullstatistics WHERE repository_id = %s AND manifest_digest = %s",
                (self.id, manifest.digest),
            )
            execute("DELETE FROM manifest WHERE id = %s", (manifest_id,))
        return True

    def _delete_of(self, table: str, manifest_id: int) -> None:
        execute(f"DELETE FROM {table} WHERE manifest_id = %s AND repository_id = %s", (manifest_id, self.id))

    def _subtract(self, sizes: list[Any]) -> None:
        """Check for each blob whether the repository and the namespace use it, then update both totals."""
        repository = namespace = 0
        for blob in sizes:
            if fetch_one(
                "SELECT id FROM manifestblob WHERE repository_id = %s AND blob_id = %s LIMIT 1",
                (self.id, blob.id),
            ):
                continue
            repository += blob.image_size
            if not fetch_one(
                "SELECT mb.id FROM manifestblob mb JOIN repository r ON r.id = mb.repository_id"
                " WHERE r.namespace_user_id = %s AND mb.blob_id = %s LIMIT 1",
                (self._namespace.id, blob.id),
            ):
                namespace += blob.image_size
        execute(
            "UPDATE quotarepositorysize SET size_bytes = size_bytes - %s WHERE repository_id = %s",
            (repository, self.id),
        )
        execute(
            "UPDATE quotanamespacesize SET size_bytes = size_bytes - %s WHERE namespace_user_id = %s",
            (namespace, self._namespace.id),
        )

    def _remove_labels(self) -> bool:
        if not self.labels:
            return False
        with transaction():
            used = _column("SELECT label_id FROM manifestlabel WHERE label_id = ANY(%s)", list(self.labels))
            free = self.labels - used
            if free:
                execute("DELETE FROM label WHERE id = ANY(%s)", (list(free),))
        self.labels -= free
        return bool(free)

    def _remove_blob(self, blob_id: int) -> bool:
        with transaction():
            for table in ("manifestblob", "uploadedblob"):
                if fetch_one(f"SELECT * FROM {table} WHERE blob_id = %s LIMIT 1", (blob_id,)):
                    return False
            placements = fetch(
                "SELECT p.*, b.content_checksum FROM imagestorageplacement p JOIN imagestorage b"
                " ON b.id = p.storage_id WHERE b.id = %s",
                (blob_id,),
            )
            if not placements:
                return False
            execute("DELETE FROM imagestorageplacement WHERE storage_id = %s", (blob_id,))
            execute("DELETE FROM imagestoragesignature WHERE storage_id = %s", (blob_id,))
            execute("DELETE FROM imagestorage WHERE id = %s", (blob_id,))
            digest = (placements[0].content_checksum,)
            fetch_one("SELECT id FROM imagestorage WHERE content_checksum = %s LIMIT 1", digest)
        # Quay checks once more before it erases the object.
        fetch_one("SELECT id FROM imagestorage WHERE content_checksum = %s LIMIT 1", digest)
        return True


def _column(sql: str, ids: list[int]) -> set[int]:
    return {row[0] for row in fetch(sql, (ids,))}
