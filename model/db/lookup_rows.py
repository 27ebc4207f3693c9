"""The rows that lookup tables must have.  Ids are read by name and never written in code."""

from __future__ import annotations

from model.db.connection import execute, fetch

ROWS: dict[str, tuple[str, ...]] = {
    "mediatype": (
        "text/plain",
        "application/json",
        "text/markdown",
        "text/x-markdown",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
    ),
    "tagkind": ("tag",),
    "visibility": ("public", "private"),
    "repositorykind": ("image", "application"),
    "imagestoragelocation": ("local_us",),
    "imagestoragesignaturekind": ("gpg2",),
    "role": ("admin", "write", "read"),
    "teamrole": ("admin", "creator", "member"),
    "externalnotificationevent": (
        "repo_push",
        "build_queued",
        "build_start",
        "build_success",
        "build_cancelled",
        "build_failure",
        "vulnerability_found",
        "repo_mirror_sync_started",
        "repo_mirror_sync_success",
        "repo_mirror_sync_failed",
        "repo_image_expiry",
        "quota_warning",
        "quota_error",
    ),
    "externalnotificationmethod": (
        "quay_notification",
        "email",
        "webhook",
        "flowdock",
        "hipchat",
        "slack",
    ),
}
LABEL_SOURCES = {"manifest": False, "api": True, "internal": False}


_ADD_LABEL_SOURCE = """
INSERT INTO labelsourcetype (name, mutable) SELECT %s, %s
    WHERE NOT EXISTS (SELECT FROM labelsourcetype WHERE name = %s)
"""


def insert_missing() -> int:
    """Insert every missing lookup row, in the order above.  Returns how many.  Idempotent."""
    added = 0
    for table, names in ROWS.items():
        added += execute(
            f"""
            INSERT INTO {table} (name)
            SELECT wanted.name FROM unnest(%s) WITH ORDINALITY AS wanted (name, n)
            WHERE NOT EXISTS (SELECT FROM {table} held WHERE held.name = wanted.name) ORDER BY wanted.n
            """,
            (list(names),),
        )
    for name, mutable in LABEL_SOURCES.items():
        added += execute(_ADD_LABEL_SOURCE, (name, mutable, name))
    return added


_USED_LOCATIONS = """
SELECT l.name FROM imagestoragelocation l WHERE EXISTS
    (SELECT FROM imagestorageplacement p WHERE p.location_id = l.id) ORDER BY l.name
"""


def find_used_locations() -> list[str]:
    """Return the names of the storage locations that have any blob; only reads."""
    rows = fetch(_USED_LOCATIONS)
    return [row.name for row in rows]
