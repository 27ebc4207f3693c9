"""Invariants of tags, and of rows that belong to a tag's name."""

from __future__ import annotations

from model.fsck.check import Check

NAMED = "n.username || '/' || r.name || ':' || t.name || ' (tag ' || t.id || ')'"
SCOPE = ' JOIN repository r ON r.id = t.repository_id JOIN "user" n ON n.id = r.namespace_user_id'
ALIVE = "(t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > %(now_ms)s)"

CHECKS = (
    Check(
        "tag-alive-twice",
        "violation",
        "one name has several alive tags in one repository",
        "End all but the newest: readers may see either.",
        f"""
        SELECT n.username || '/' || r.name || ':' || t.name || ' (' || count(*) || ' alive)'
            FROM tag t{SCOPE} WHERE {ALIVE}
            GROUP BY n.username, r.name, t.repository_id, t.name HAVING count(*) > 1
        """,
    ),
    Check(
        "tag-alive-without-manifest",
        "violation",
        "an alive tag points at no manifest",
        "The tag cannot be pulled: push the image again, or delete the tag.",
        f"SELECT {NAMED} FROM tag t{SCOPE} WHERE t.manifest_id IS NULL AND {ALIVE}",
    ),
    Check(
        "tag-ends-before-it-starts",
        "violation",
        "an alive tag of the future ends before it starts",
        "Set a sensible lifetime_end_ms by hand.",
        f"""
        SELECT {NAMED} FROM tag t{SCOPE}
            WHERE t.lifetime_end_ms < t.lifetime_start_ms AND t.lifetime_end_ms > %(now_ms)s
        """,
    ),
    Check(
        "tag-statistics-without-tag",
        "violation",
        "pull statistics of a name that has no tag, alive or ended",
        "`dredge sweep` removes them.",
        """
        SELECT 'repository ' || s.repository_id || ' tag ' || s.tag_name FROM tagpullstatistics s
            WHERE NOT EXISTS (SELECT FROM tag t
            WHERE t.repository_id = s.repository_id AND t.name = s.tag_name)
        """,
    ),
    Check(
        "tag-expired",
        "pending",
        "a tag past its recovery window",
        "The next collection of its repository takes it.",
        f"""
        SELECT {NAMED} FROM tag t{SCOPE} WHERE n.enabled AND r.state <> 3
            AND t.lifetime_end_ms <= %(now_ms)s - n.removed_tag_expiration_s * 1000
            AND NOT (t.immutable AND %(immutable_stays)s)
        """,
    ),
)
