"""Whether vacuum keeps up with the tables that collections delete from.  Only reads."""

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
       (extract(epoch FROM greatest(s.last_autovacuum, s.last_vacuum)) * 1000)::bigint AS vacuumed_ms
FROM pg_stat_user_tables s
WHERE s.relid = ANY(ARRAY(SELECT to_regclass(t)::oid FROM unnest(%(tables)s) AS t))
ORDER BY s.n_dead_tup DESC, s.relname
"""


@dataclass(frozen=True)
class TableState:
    """A table in the server's statistics; `vacuumed_ms` is None if it was never vacuumed."""

    table: str
    live_rows: int
    dead_rows: int
    bytes: int
    vacuumed_ms: int | None

    @property
    def falls_behind(self) -> bool:
        """Return whether far more rows are dead than a default autovacuum leaves."""
        return self.dead_rows > max(10_000, self.live_rows)


def read_table_states() -> list[TableState]:
    """Return the state of each of `TABLES`, most dead rows first."""
    return [TableState(*row) for row in fetch(_STATE, {"tables": list(TABLES)})]
