"""Measure the physical floor: plain deletes of exactly the garbage rows, which are known in advance."""

from __future__ import annotations

from bench.contest import Run
from bench.count import counted, row_counts
from bench.lab import configured, peak_rss_mb, plain_planner
from model.db.clock import now_ms
from model.db.connection import execute, fetch, fetch_one, transaction

# The garbage under the policy `pin`, computed before the measurement starts.
_PREPARE = """
CREATE TEMP TABLE dead_tag AS
    SELECT t.repository_id, t.id, t.name FROM tag t JOIN repository r ON r.id = t.repository_id
    JOIN "user" n ON n.id = r.namespace_user_id
    WHERE t.lifetime_end_ms <= %(now_ms)s - n.removed_tag_expiration_s * 1000 AND NOT t.immutable;
ANALYZE dead_tag;
CREATE TEMP TABLE dead_manifest AS
    WITH RECURSIVE used (id) AS (
        SELECT manifest_id FROM tag t WHERE NOT EXISTS (SELECT FROM dead_tag d WHERE d.id = t.id)
        UNION
        SELECT x.id FROM used JOIN manifest m ON m.id = used.id CROSS JOIN LATERAL (
            SELECT child_manifest_id FROM manifestchild WHERE manifest_id = m.id
            UNION ALL SELECT s.id FROM manifest s
            WHERE s.repository_id = m.repository_id AND s.digest = m.subject) x (id)
    ) SELECT repository_id, id, digest FROM manifest m
    WHERE NOT EXISTS (SELECT FROM used WHERE used.id = m.id);
ANALYZE dead_manifest;
CREATE TEMP TABLE dead_tagnotificationsuccess AS
    SELECT d.repository_id, s.id FROM tagnotificationsuccess s JOIN dead_tag d ON d.id = s.tag_id;
CREATE TEMP TABLE dead_tagpullstatistics AS
    SELECT s.repository_id, s.id FROM tagpullstatistics s
    WHERE (repository_id, tag_name) IN (SELECT repository_id, name FROM dead_tag) AND NOT EXISTS (
        SELECT FROM tag a WHERE a.repository_id = s.repository_id AND a.name = s.tag_name
        AND (a.lifetime_end_ms IS NULL OR a.lifetime_end_ms > %(now_ms)s));
CREATE TEMP TABLE dead_manifestlabel AS
    SELECT l.repository_id, l.id, l.label_id FROM manifestlabel l
    WHERE l.manifest_id IN (SELECT id FROM dead_manifest);
CREATE TEMP TABLE dead_label AS
    WITH held AS (
        SELECT label_id FROM manifestlabel o
        WHERE NOT EXISTS (SELECT FROM dead_manifest d WHERE d.id = o.manifest_id))
    SELECT DISTINCT ON (label_id) repository_id, label_id AS id FROM dead_manifestlabel d
    WHERE NOT EXISTS (SELECT FROM held WHERE held.label_id = d.label_id);
CREATE TEMP TABLE dead_manifestchild AS
    SELECT repository_id, id FROM manifestchild WHERE manifest_id IN (SELECT id FROM dead_manifest);
CREATE TEMP TABLE dead_manifestblob AS
    SELECT repository_id, id, blob_id FROM manifestblob
    WHERE manifest_id IN (SELECT id FROM dead_manifest);
CREATE TEMP TABLE dead_manifestsecuritystatus AS
    SELECT repository_id, id FROM manifestsecuritystatus WHERE manifest_id IN (SELECT id FROM dead_manifest);
CREATE TEMP TABLE dead_manifestpullstatistics AS
    SELECT p.repository_id, p.id FROM manifestpullstatistics p
    WHERE (repository_id, manifest_digest) IN (SELECT repository_id, digest FROM dead_manifest);
CREATE TEMP TABLE dead_uploadedblob AS
    SELECT repository_id, id, blob_id FROM uploadedblob
    WHERE expires_at <= to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC';
CREATE TEMP TABLE dead_blobupload AS
    SELECT repository_id, id FROM blobupload
    WHERE created <= to_timestamp(%(now_ms)s / 1000.0 - 172800) AT TIME ZONE 'UTC';
-- A blob is deleted with the last repository that references it; repositories are visited by ID.
CREATE TEMP TABLE dead_imagestorage AS
    WITH held AS (
        SELECT blob_id FROM manifestblob o
        WHERE NOT EXISTS (SELECT FROM dead_manifest d WHERE d.id = o.manifest_id)
        UNION SELECT blob_id FROM uploadedblob o
        WHERE NOT EXISTS (SELECT FROM dead_uploadedblob d WHERE d.id = o.id))
    SELECT max(d.repository_id) AS repository_id, d.blob_id AS id FROM (
        SELECT repository_id, blob_id FROM dead_manifestblob
        UNION ALL SELECT repository_id, blob_id FROM dead_uploadedblob) d
    WHERE NOT EXISTS (SELECT FROM held WHERE held.blob_id = d.blob_id) GROUP BY d.blob_id;
CREATE TEMP TABLE dead_imagestorageplacement AS
    SELECT d.repository_id, p.id FROM imagestorageplacement p JOIN dead_imagestorage d ON d.id = p.storage_id;
"""
# In an order that satisfies foreign keys.
_ORDER = (
    "tagnotificationsuccess",
    "tag",
    "tagpullstatistics",
    "manifestlabel",
    "label",
    "manifestchild",
    "manifestblob",
    "manifestsecuritystatus",
    "manifestpullstatistics",
    "manifest",
    "uploadedblob",
    "blobupload",
    "imagestorageplacement",
    "imagestorage",
)


def run_floor(url: str, per_repository: bool, keys: bool = True) -> Run:
    """Delete all garbage rows, in one transaction per repository or in a single one."""
    with configured(url, keys=keys):
        plain_planner()
        before = row_counts()
        execute("SET work_mem = '256MB'")
        execute(_PREPARE, {"now_ms": now_ms()})
        for table in _ORDER:
            execute(f"CREATE INDEX ON dead_{table} (repository_id)")
            execute(f"ANALYZE dead_{table}")
        repositories = [
            row.repository_id
            for row in fetch(
                " UNION ".join(f"SELECT repository_id FROM dead_{table}" for table in _ORDER) + " ORDER BY 1"
            )
        ]
        execute("RESET work_mem")
        with counted() as count:
            if per_repository:
                for repository_id in repositories:
                    _delete("WHERE repository_id = %s", (repository_id,))
            else:
                _delete("", ())
        return Run.of(count, before, row_counts(), peak_rss_mb())


def _delete(where: str, params: tuple[int, ...]) -> None:
    with transaction():
        held = fetch_one(
            "SELECT " + ", ".join(f"EXISTS (SELECT FROM dead_{t} {where}) AS {t}" for t in _ORDER),
            params * len(_ORDER),
        )
        tables = [table for table, is_held in zip(_ORDER, held, strict=True) if is_held]
        for table in tables:
            execute(f"DELETE FROM {table} WHERE id IN (SELECT id FROM dead_{table} {where})", params)
