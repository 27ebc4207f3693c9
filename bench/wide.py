"""Fill a registry of a million repositories in minutes, by statements inside the database server."""

from __future__ import annotations

from dataclasses import dataclass

from bench.bulk import without_indexes
from model.db.bulk_load import spare_foreign_key_checks
from model.db.clock import now_ms
from model.db.connection import execute, transaction

DAY_S = 86_400
WINDOWS_S = (0, DAY_S, 7 * DAY_S, 14 * DAY_S, 28 * DAY_S)
TAGS = 10

# Of the ten tags of a repository seven are alive, and three have ended inside their window (or, without a
# window, will end).  A scan along the ends of tags must skip them.
_LOAD = (
    """
    INSERT INTO "user" (id, uuid, username, email, verified, organization, robot, invoice_email,
                        last_invalid_login, removed_tag_expiration_s)
    SELECT g, 'u' || g, 'wide-' || g, 'wide-' || g || '@example.invalid', true, true, false, false,
           now(), (%(windows)s::bigint[])[1 + g %% %(policies)s]
    FROM generate_series(1, %(namespaces)s) g
    """,
    """
    INSERT INTO repository (id, namespace_user_id, name, visibility_id, badge_token)
    SELECT g, 1 + g %% %(namespaces)s, 'app-' || g, (SELECT min(id) FROM visibility), 'b' || g
    FROM generate_series(1, %(repositories)s) g
    """,
    """
    INSERT INTO manifest (id, repository_id, digest, media_type_id, manifest_bytes)
    SELECT g, g, 'sha256:' || encode(sha256(g::text::bytea), 'hex'), (SELECT min(id) FROM mediatype), '{}'
    FROM generate_series(1, %(repositories)s) g
    """,
    """
    INSERT INTO tag (id, name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, tag_kind_id)
    SELECT (r.id - 1) * %(tags)s + k, 'v' || k, r.id, r.id, %(now_ms)s - 40 * 86400000::bigint,
           CASE WHEN k > 7 THEN %(now_ms)s - (n.removed_tag_expiration_s * 900 * random())::bigint
                + CASE WHEN n.removed_tag_expiration_s = 0 THEN 86400000 * k ELSE 0 END END,
           (SELECT min(id) FROM tagkind)
    FROM repository r JOIN "user" n ON n.id = r.namespace_user_id CROSS JOIN generate_series(1, %(tags)s) k
    """,
)


@dataclass(frozen=True)
class Wide:
    """Repositories with ten tags each, without garbage yet, and with five different recovery windows."""

    repositories: int

    @property
    def namespaces(self) -> int:
        """Return the number of namespaces that a registry of this size has."""
        return max(len(WINDOWS_S), int(self.repositories**0.7))

    def load(self) -> None:
        """Write the rows into an empty database, in one transaction."""
        params = {
            "now_ms": now_ms(),
            "windows": list(WINDOWS_S),
            "policies": len(WINDOWS_S),
            "namespaces": self.namespaces,
            "repositories": self.repositories,
            "tags": TAGS,
        }
        with transaction(), without_indexes():
            spare_foreign_key_checks()
            for statement in _LOAD:
                execute(statement, params)


# Ends the eighth tag of some repositories just outside the longest window.
_EXPIRE = """
UPDATE tag SET lifetime_end_ms = %(now_ms)s - 29 * 86400000::bigint - id %% 1000
WHERE id IN (SELECT (r.id - 1) * %(tags)s + 8 FROM repository r
             JOIN "user" n ON n.id = r.namespace_user_id WHERE {which})
"""

# One namespace that owns as many expired tags as there are repositories, in a few of its own.
_OWNER = """
INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, tag_kind_id)
SELECT 'old' || k, r.id, r.id, 1, %(now_ms)s - 29 * 86400000::bigint - k, (SELECT min(id) FROM tagkind)
FROM (SELECT id FROM repository WHERE namespace_user_id = 1 ORDER BY id LIMIT 10) r
CROSS JOIN generate_series(1, %(repositories)s / 10) k
"""

# The statistics show nearly empty tables, as after a bulk load without ANALYZE.
_STALE = """
SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', t, 'relpages', 1, 'reltuples', 10::real),
       pg_clear_attribute_stats('public', t, a.attname, false)
FROM unnest(ARRAY['tag', 'repository', 'user']) t
JOIN pg_attribute a ON a.attrelid = quote_ident(t)::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""

GARBAGE: dict[str, str] = {
    "dense": "r.id %% 2 = 0",
    "sparse": "r.id %% 2000 = 0",
    "one policy": f"n.removed_tag_expiration_s = {WINDOWS_S[-1]}",
    "one namespace": "r.id %% 100 = 0",
    "stale statistics": "r.id %% 2 = 0",
}


def make_garbage(kind: str, wide: Wide) -> None:
    """Let tags expire as `kind` (a key of `GARBAGE`) describes; does not gather statistics again."""
    params = {"now_ms": now_ms(), "tags": TAGS, "repositories": wide.repositories}
    execute(_EXPIRE.format(which=GARBAGE[kind]), params)
    if kind == "one namespace":
        execute("SELECT setval('tag_id_seq', (SELECT max(id) FROM tag))")
        execute(_OWNER, params)
    if kind == "stale statistics":
        execute(_STALE)
