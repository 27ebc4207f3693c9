"""Whether the tables that collections delete from, and their indexes, need maintenance.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch

# The tables that collections change most; a closed list, because it labels a metric.
TABLES = (
    *(
        "tag",
        "manifest",
        "manifestblob",
        "manifestchild",
        "imagestorage",
        "imagestorageplacement",
        "uploadedblob",
    ),
    *("dredge_event", "dredge_due", "dredge_manifest_candidate", "dredge_blob_candidate", "dredge_tombstone"),
)

_STATE = """
SELECT s.relname AS "table", s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
       pg_total_relation_size(s.relid) AS bytes,
       (extract(epoch FROM greatest(s.last_autovacuum, s.last_vacuum)) * 1000)::bigint AS vacuumed_ms,
       current_setting('autovacuum')::boolean AND NOT coalesce(
           (SELECT c.reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off']
            FROM pg_class c WHERE c.oid = s.relid), false) AS is_automatic
FROM pg_stat_user_tables s
WHERE s.relid = ANY(ARRAY(SELECT to_regclass(t)::oid FROM unnest(%(tables)s) AS t))
ORDER BY s.n_dead_tup DESC, s.relname
"""

# The size that a new index would have, without the joining of equal keys: an entry has 12 bytes and its
# columns, each at most 7 bytes longer than its average, and a new page is nine tenths full.
# `reltuples` is -1 where nobody has looked at the index yet.
_INDEXES = """
SELECT t.relname AS "table", i.relname AS index, i.reltuples::bigint AS rows,
       pg_relation_size(i.oid) AS bytes,
       (i.reltuples * (12 + w.width) / 0.9)::bigint + 3 * 8192 AS bytes_if_new
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
JOIN LATERAL (
    SELECT sum(7 + coalesce(s.avg_width, 32)) AS width
    FROM pg_attribute a LEFT JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum = x.indkey[a.attnum - 1]
    LEFT JOIN pg_stats s ON s.schemaname = t.relnamespace::regnamespace::text AND s.tablename = t.relname
        AND s.attname = c.attname
    WHERE a.attrelid = i.oid
) w ON true
WHERE t.oid = ANY(ARRAY(SELECT to_regclass(n)::oid FROM unnest(%(tables)s) AS n)) AND i.reltuples >= 0
ORDER BY pg_relation_size(i.oid) DESC, i.relname
"""

# An index is worth building anew if it is so many times as large as needed, and wastes so many bytes.
_TIMES = 3
_WASTED_BYTES = 50_000_000


@dataclass(frozen=True)
class TableState:
    """A table in the server's statistics; `vacuumed_ms` is None if it was never vacuumed.

    `is_automatic` tells whether autovacuum looks after it.
    """

    table: str
    live_rows: int
    dead_rows: int
    bytes: int
    vacuumed_ms: int | None
    is_automatic: bool

    @property
    def falls_behind(self) -> bool:
        """Return whether far more rows are dead than a default autovacuum leaves."""
        return self.dead_rows > max(10_000, self.live_rows)


@dataclass(frozen=True)
class IndexState:
    """An index, its size, and at most the size that it has after `REINDEX`; both in bytes.

    Read after a vacuum: its number of rows is that of the last one.
    """

    table: str
    index: str
    rows: int
    bytes: int
    bytes_if_new: int

    @property
    def is_bloated(self) -> bool:
        """Return whether building the index anew gives back most of a large size."""
        return self.bytes - self.bytes_if_new > max(_WASTED_BYTES, (_TIMES - 1) * self.bytes_if_new)


def read_table_states() -> list[TableState]:
    """Return the state of each of `TABLES`, most dead rows first."""
    return [TableState(*row) for row in fetch(_STATE, {"tables": list(TABLES)})]


def read_index_states() -> list[IndexState]:
    """Return the state of each index of `TABLES`, largest first; without those never vacuumed or analysed."""
    return [IndexState(*row) for row in fetch(_INDEXES, {"tables": list(TABLES)})]
