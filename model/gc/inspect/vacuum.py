"""How vacuum keeps up with the tables that a collection deletes from.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch

# What a collection churns most; a closed list, for it labels a metric.
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
    """A table as the statistics see it; `vacuumed_ms` is None where it never was."""

    table: str
    live_rows: int
    dead_rows: int
    bytes: int
    vacuumed_ms: int | None

    @property
    def falls_behind(self) -> bool:
        """Return whether more rows are dead than a default autovacuum leaves, by far."""
        return self.dead_rows > max(10_000, self.live_rows)


def read_table_states() -> list[TableState]:
    """Return the state of each of `TABLES`, most dead rows first."""
    return [TableState(*row) for row in fetch(_STATE, {"tables": list(TABLES)})]
