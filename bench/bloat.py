"""Measure the size of tables and indexes after a mass deletion, after a vacuum, and after reindexing."""

from __future__ import annotations

from collections.abc import Iterator

from bench.collect import run_collector
from bench.figure import Figure, Options
from bench.lab import Lab, configured, isolated, vacuum
from model.db.connection import execute, fetch, fetch_one
from model.gc.inspect.vacuum import TABLES, read_index_states
from worker.local.sample.shape import registry

NAME = "bloat"
MB = 1_000_000
LARGEST = 8

_SIZES = """
SELECT sum(pg_table_size(t)) AS tables, sum(pg_indexes_size(t)) AS indexes
FROM unnest(ARRAY(SELECT to_regclass(n) FROM unnest(%s) AS n)) AS t
"""

_INDEX_SIZES = """
SELECT relname AS name, pg_relation_size(oid) AS bytes FROM pg_class WHERE relname = ANY(%s) AND relkind = 'i'
"""


def run(options: Options) -> Iterator[Figure]:
    """Yield sizes before and after a collection, after a vacuum and built anew, and the estimates' errors."""
    with Lab() as lab, lab.clone(registry(options.manifests)) as url:
        with configured(url):
            yield from _sizes("before")
        isolated(run_collector, url)
        with configured(url):
            yield from _sizes("after the collection")
        vacuum(url)
        with configured(url):
            yield from _sizes("after a vacuum")
            estimated = {each.index: each for each in read_index_states()}
            for table in TABLES:
                execute(f"REINDEX TABLE {table}")
            yield from _sizes("after a reindex")
            sizes = {row.name: row.bytes for row in fetch(_INDEX_SIZES, (list(estimated),))}
            for name in sorted(sizes, key=lambda name: -estimated[name].bytes)[:LARGEST]:
                ratio = estimated[name].bytes_if_new / sizes[name]
                yield Figure(NAME, f"{name}: estimated against new", ratio, "times", "at least 1")


def _sizes(moment: str) -> Iterator[Figure]:
    found = fetch_one(_SIZES, (list(TABLES),))
    yield Figure(NAME, f"tables {moment}", float(found.tables) / MB, "MB")
    yield Figure(NAME, f"indexes {moment}", float(found.indexes) / MB, "MB")
