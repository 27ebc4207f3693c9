"""Invariants of blob rows, uploads and tombstones."""

from __future__ import annotations

from model.db.fragments import PLACED, is_abandoned_upload, is_expired_marker
from model.fsck.check import Check
from model.storage_paths import MALFORMED_SQL

SHOWN = "'blob ' || b.id || ' ' || coalesce(b.content_checksum, b.uuid)"
UNREFERENCED = """
NOT EXISTS (SELECT FROM manifestblob mb WHERE mb.blob_id = b.id)
    AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id)
"""
TRACE = "EXISTS (SELECT FROM dredge_blob_candidate k WHERE k.blob_id = b.id)"

CHECKS = (
    Check(
        "blob-orphaned",
        "violation",
        "a blob that nothing refers to and no candidate row remembers: nothing will find it",
        "`dredge sweep` finds it (two passes, then the review judges it).",
        f"SELECT {SHOWN} FROM imagestorage b WHERE {UNREFERENCED} AND {PLACED} AND NOT {TRACE}",
    ),
    Check(
        "blob-nowhere",
        "violation",
        "a manifest outside a pull-through cache uses a blob that has no placement",
        "The image cannot be pulled: push it again.",
        f"""
        SELECT DISTINCT {SHOWN} FROM imagestorage b JOIN manifestblob mb ON mb.blob_id = b.id
            JOIN repository r ON r.id = mb.repository_id WHERE NOT {PLACED}
            AND NOT EXISTS (SELECT FROM proxycacheconfig x WHERE x.organization_id = r.namespace_user_id)
        """,
    ),
    Check(
        "blob-malformed",
        "violation",
        "a blob whose checksum or uuid is none: no object can have its path",
        "Correct the row by hand if its object is known, else push the images that use it again.",
        f"SELECT {SHOWN} FROM imagestorage b WHERE {PLACED} AND {MALFORMED_SQL}",
    ),
    Check(
        "blob-candidate",
        "pending",
        "a blob waiting to be reviewed",
        "The next review judges it.",
        "SELECT DISTINCT 'blob ' || k.blob_id FROM dredge_blob_candidate k",
    ),
    Check(
        "blob-downloading",
        "pending",
        "a blob without placement that nothing refers to: a download in progress, or what one left",
        "None: a sweep that sees it twice hands it to the review.",
        f"SELECT {SHOWN} FROM imagestorage b WHERE {UNREFERENCED} AND NOT {PLACED}",
    ),
    Check(
        "upload-marker-expired",
        "pending",
        "a push's hold on a blob has expired",
        "The next collection of its repository takes it.",
        f"""
        SELECT 'repository ' || u.repository_id || ' blob ' || u.blob_id FROM uploadedblob u
            WHERE {is_expired_marker("u")}
        """,
    ),
    Check(
        "upload-abandoned",
        "pending",
        "an unfinished upload past its time",
        "The next collection of its repository takes it.",
        f"""
        SELECT 'repository ' || u.repository_id || ' upload ' || u.uuid FROM blobupload u
            WHERE {is_abandoned_upload("u")}
        """,
    ),
    Check(
        "tombstone-nowhere",
        "violation",
        "a tombstone at a location that does not exist: nobody will erase it",
        "Configure the location in DREDGE_STORAGE, or delete the tombstone.",
        """
        SELECT 'tombstone ' || t.id || ' ' || t.location || ':' || t.path FROM dredge_tombstone t
            WHERE NOT EXISTS (SELECT FROM imagestoragelocation l WHERE l.name = t.location)
        """,
    ),
    Check(
        "tombstone",
        "pending",
        "an object waiting to be erased",
        "The next erase takes it.  `dredge status` shows those that fail.",
        """
        SELECT t.location || ':' || t.path || CASE WHEN t.tries > 0 THEN ' (' || t.tries || ' tries: '
            || coalesce(t.last_error, '') || ')' ELSE '' END FROM dredge_tombstone t
        """,
    ),
)
