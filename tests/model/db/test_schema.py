"""The tables: Quay's own, column for column, and ours beside them."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest

from model.db import connection as database
from model.db import introspection, schema
from model.db.tables import OWN_TABLES, REGISTRY_TABLES
from model.errors import SchemaMismatch
from tests.support.databases import Databases
from tests.support.quay import FACTS, create_quay_tables
from tests.support.world import World

REGISTRY = [model._meta.table_name for model in REGISTRY_TABLES]
OWN = {model._meta.table_name for model in OWN_TABLES} | {schema.HISTORY_TABLE}
NO_LONGER_IN_QUAY = "namespacegeorestriction"

# Every foreign key to a row that a collection deletes, and what becomes of the rows that hold it.
HANDLED = {
    "manifestblob.manifest_id": "purged with the manifest",
    "manifestchild.manifest_id": "purged with the manifest",
    "manifestchild.child_manifest_id": "a listed manifest is dead only with all its indexes",
    "manifestlabel.manifest_id": "purged with the manifest",
    "manifestsecuritystatus.manifest_id": "purged with the manifest",
    "tag.manifest_id": "a manifest is dead only without tags; unrecoverable ones go in the same transaction",
    "tag.linked_tag_id": "links to a collected tag are cut first",
    "tagnotificationsuccess.tag_id": "purged with the tag",
    "manifestlabel.label_id": "a label is purged after the last row that refers to it",
    "imagestorageplacement.storage_id": "purged with the blob",
    "imagestoragesignature.storage_id": "purged with the blob",
    "manifestblob.blob_id": "a blob is dead only without manifests",
    "uploadedblob.blob_id": "a blob is dead only without unexpired uploads; expired ones are purged",
}


@pytest.fixture
def quay(empty_database: str) -> str:
    create_quay_tables(empty_database)
    return empty_database


def _catalogue() -> dict[str, Any]:
    """Everything the catalogue says about the registry's tables."""
    return {
        "columns": {t: c for t, c in introspection.find_columns().items() if t not in OWN},
        "indexes": {t: i for t, i in introspection.find_indexes().items() if t not in OWN},
        "references": introspection.find_references(),
        "rest": database.fetch(
            "SELECT c.relname, c.relkind, c.reloptions, c.relhastriggers, c.relfilenode FROM pg_class c"
            " WHERE c.relnamespace = current_schema()::regnamespace AND c.relname NOT LIKE 'dredge%%'"
            " ORDER BY c.relname"
        ),
    }


@pytest.mark.parametrize("table", [name for name in REGISTRY if name != NO_LONGER_IN_QUAY])
def test_the_table_is_quays_column_for_column(table: str, shared_columns: dict[str, Any]) -> None:
    expected = {
        name: (type, nullable, name == "id" or bool(default))
        for name, type, nullable, *default in FACTS[table]["columns"]
    }
    assert {name: tuple(column) for name, column in shared_columns["columns"][table].items()} == expected
    unique = {index.columns for index in shared_columns["indexes"][table] if index.unique}
    assert {frozenset(columns) for columns in unique} == {
        frozenset(columns) for columns in [*FACTS[table]["unique"], ["id"]]
    }
    references = {(r.column, r.target) for r in shared_columns["references"] if r.table == table}
    assert references == {tuple(pair) for pair in FACTS[table]["references"]}


@pytest.fixture(scope="module")
def shared_columns(databases: Databases) -> dict[str, Any]:
    with databases.clone():
        return _catalogue()


def test_an_empty_database_gets_everything(empty_database: str) -> None:
    prepared = schema.create()
    assert prepared.found == "empty"
    assert set(prepared.tables) == introspection.find_tables() == set(REGISTRY) | OWN
    assert schema.check() == []


def test_the_second_time_changes_nothing(world: World) -> None:
    with world.changes() as changes:
        prepared = schema.create()
    assert not prepared
    assert prepared.found == "registry"
    assert not changes


def test_a_quay_database_gets_only_our_tables(quay: str) -> None:
    before = _catalogue()
    prepared = schema.create()
    assert prepared.found == "registry"
    assert set(prepared.tables) == OWN
    assert prepared.lookup_rows == 0
    assert _catalogue() == before
    assert schema.check() == []
    world = World(quay)
    assert world.value("SELECT count(*) FROM mediatype") == 0
    world.close()


def test_two_at_once_do_the_work_once(empty_database: str) -> None:
    results: list[schema.Prepared] = []

    def run() -> None:
        results.append(schema.create())
        database.db.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bool(result) for result in results) == [False, False, True]
    assert schema.check() == []


def test_a_failure_leaves_nothing_half_made(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("crash")

    monkeypatch.setattr(schema, "_runner", broken)
    with pytest.raises(RuntimeError):
        schema.create()
    assert introspection.find_tables() == set()


def test_half_a_registry_is_refused(empty_database: str) -> None:
    world = World(empty_database)
    world.execute("CREATE TABLE tag (id serial PRIMARY KEY)")
    with pytest.raises(SchemaMismatch, match="lacks imagestorage, manifest"):
        schema.create()
    assert introspection.find_tables() == {"tag"}
    world.close()


def test_tables_of_another_program_do_not_matter(empty_database: str) -> None:
    world = World(empty_database)
    world.execute("CREATE TABLE invoice (id serial PRIMARY KEY)")
    assert schema.create(beside_others=True).found == "empty"
    assert schema.check() == []
    world.close()


@pytest.mark.parametrize("schema_name", ["quay", "Quay's Own"])
def test_a_registry_in_a_schema_that_the_url_names(empty_database: str, schema_name: str) -> None:
    world = World(empty_database)
    world.execute(f'CREATE SCHEMA "{schema_name}"')
    world.close()
    path = quote(f'"{schema_name}"'.replace(" ", "\\ "), safe="")
    url = f"{empty_database}?options=-csearch_path%3D{path}"
    create_quay_tables(url)
    database.configure(url)
    assert set(schema.create().tables) == OWN
    assert not schema.create()
    assert schema.check() == []
    assert schema.pending_migrations() == []
    database.configure(empty_database)
    assert introspection.find_tables() == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("DROP TABLE label CASCADE", "The table label is missing"),
        ("ALTER TABLE tag DROP COLUMN immutable", "The column tag.immutable is missing"),
        ("ALTER TABLE manifest ALTER subject TYPE varchar(64)", "manifest.subject is character varying(64)"),
        # Our own columns hold ids of Quay's tables, which are 32 bits wide in every version of Quay.
        ("ALTER TABLE manifest ALTER id TYPE bigint", "manifest.id is bigint and should be integer"),
        ("ALTER TABLE imagestorage ALTER id TYPE bigint", "imagestorage.id is bigint and should be integer"),
        ("ALTER TABLE repository ALTER id TYPE bigint", "repository.id is bigint and should be integer"),
        ("ALTER TABLE manifest ALTER subject SET NOT NULL", "manifest.subject must have a value"),
        ("ALTER TABLE tag ADD colour text NOT NULL", "tag.colour is unknown and must have a value"),
        (
            "DROP INDEX manifest_repository_id_digest",
            "no unique index on manifest (repository_id, digest)",
        ),
        ("DROP INDEX blob_content_checksum", "There is no index on imagestorage (content_checksum)"),
        (
            "CREATE TABLE scan (id serial, manifest_id int REFERENCES manifest (id))",
            "scan.manifest_id refers to manifest and is unknown",
        ),
        ("DELETE FROM dredge_migration", "The migration 0001_own_tables has not been applied"),
        (
            "INSERT INTO dredge_migration (name, applied) VALUES ('9999_later', now())",
            "The migration 9999_later is unknown",
        ),
    ],
)
def test_check_says_what_does_not_fit(world: World, change: str, expected: str) -> None:
    world.execute(change)
    problems = schema.check()
    assert any(expected in problem for problem in problems), problems


def test_a_missing_restriction_table_is_no_problem(world: World) -> None:
    world.execute(f"DROP TABLE {NO_LONGER_IN_QUAY}")
    assert schema.check() == []


def test_every_foreign_key_to_collected_rows_is_handled() -> None:
    held = {
        f"{table}.{column}"
        for table, facts in FACTS.items()
        for column, target in facts["references"]
        if target in schema.COLLECTED
    }
    assert held == set(HANDLED)


def test_own_tables_refer_to_nothing(database: str) -> None:
    assert [r for r in introspection.find_references() if r.table.startswith("dredge_")] == []


def test_own_tables_are_what_their_classes_say(world: World) -> None:
    for model in OWN_TABLES:
        columns = {name for (name,) in world.rows(_COLUMNS, (model._meta.table_name,))}
        assert columns == {field.column_name for field in model._meta.sorted_fields}


def test_facts_are_those_of_a_whole_quay() -> None:
    assert len(FACTS) == 105
    with pytest.raises(psycopg2.OperationalError):
        create_quay_tables("postgresql://nobody@127.0.0.1:1/none")


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
