"""The roles of `deploy/roles.sql`: a collector and a reader, with what they need and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from model import rights
from model.db import schema
from tests.support.layouts import plain_layout
from tests.support.patience import PATIENCE_S
from tests.support.quay import FACTS, create_quay_tables
from tests.support.world import World
from tests.worker.broker.running import celery
from tests.worker.cli.conftest import Dredge, Garbage

ROOT = Path(__file__).parents[3]
ROLES = (ROOT / "deploy" / "roles.sql").read_text()
GUIDE = (ROOT / "docs" / "how-to" / "operations.md").read_text()
LOGINS = re.findall(r'psql "\$OWNER_URL" -c "(CREATE ROLE .*)"', GUIDE)

LOOKING = """
status | status --json | plan | plan acme/app | explain acme/app | explain acme/app:kept | explain DIGEST
fsck | fsck --deep | verify | due | history | tag list acme/app | tag history acme/app:old | inuse status
repository list --deleted | namespace list --deleted | retention audit acme/app | retention problems
webhook list | sweep --dry-run | export acme/image:v1 OUT
"""
CHANGING = """
pause --reason moving | resume | retry | webhook retry | collect acme/app | collect --all | sweep
tag delete acme/app:kept | tag restore acme/app:kept | tag expire acme/app:kept --in 3d
import LAYOUT acme/new | repository delete acme/app --yes | repository restore acme/app
namespace delete acme --yes | namespace restore acme
"""
OWNERS = "init --triggers | sample --manifests 10 --yes --objects none"


def commands(text: str, **words: str) -> list[list[str]]:
    """The commands of a list, with words that are known only now."""
    split = [each.split() for line in text.splitlines() for each in line.split("|")]
    return [[words.get(word, word) for word in each] for each in split if each]


@pytest.fixture
def owner(world: World) -> Iterator[World]:
    """The owner of a registry in which the roles and their logins were made, as the guide says."""
    for statement in (ROLES, ROLES, *LOGINS):
        world.execute(statement)
    yield world
    roles = "dredge_collector, dredge_reader, dredge_worker, dredge_monitoring"
    world.execute(f"DROP OWNED BY {roles}")
    world.execute(f"DROP ROLE {roles}")


def tags_of(world: World) -> set[int]:
    return {tag for (tag,) in world.rows("SELECT id FROM tag")}


def url_of(login: str, world: World) -> str:
    return world.url.replace("//dredge@", f"//{login}@")


def test_the_reader_looks_and_changes_nothing(
    owner: World, dredge: Dredge, garbage: Garbage, tmp_path: Path
) -> None:
    layout, gone = str(plain_layout(tmp_path / "layout")), garbage.image("old", dead_for_ms=1)
    kept = garbage.image("kept")
    assert dredge("import", layout, "acme/image").code == 0
    url, words = url_of("dredge_monitoring", owner), {"LAYOUT": layout, "OUT": str(tmp_path / "out")}
    with owner.changes() as changes:
        for command in commands(LOOKING, DIGEST=kept.manifest.digest, **words):
            said = dredge(*command, DATABASE_URL=url)
            assert "The database refuses" not in said.out + said.err, (command, said)
            assert said.code == (1 if command[0] == "fsck" else 0), (command, said)
        for command in commands(CHANGING + OWNERS, **words):
            said = dredge(*command, DATABASE_URL=url)
            assert said.code == 1 and len(said.err.splitlines()) == 1, (command, said)
    assert not changes and garbage.objects() > 3 and gone
    shown = dredge("check", DATABASE_URL=url).out
    assert "ok\trights\tThe role dredge_monitoring may only look" in shown


def test_the_collector_changes_what_it_should_and_leaves_the_tables_to_their_owner(
    owner: World, dredge: Dredge, garbage: Garbage, tmp_path: Path
) -> None:
    layout, gone = str(plain_layout(tmp_path / "layout")), garbage.image("old", dead_for_ms=1)
    kept = garbage.image("kept")
    url, words = url_of("dredge_worker", owner), {"LAYOUT": layout, "OUT": str(tmp_path / "out")}
    assert dredge("import", layout, "acme/image", DATABASE_URL=url).code == 0
    for command in commands(LOOKING + CHANGING, DIGEST=kept.manifest.digest, **words):
        said = dredge(*command, DATABASE_URL=url)
        assert "The database refuses" not in said.out + said.err, (command, said)
        assert said.code == (1 if command[0] == "fsck" else 0), (command, said)
    for command in commands(OWNERS):
        said = dredge(*command, DATABASE_URL=url)
        assert said.code == 1 and len(said.err.splitlines()) == 1, (command, said)
    tags = tags_of(owner)
    assert {int(garbage.kept), int(kept)} <= tags and int(gone) not in tags
    assert "rights" not in dredge("check", DATABASE_URL=url).out


def test_check_names_each_right_that_is_missing(owner: World, dredge: Dredge, garbage: Garbage) -> None:
    url = url_of("dredge_worker", owner)
    owner.execute("REVOKE DELETE ON tag, manifest FROM dredge_collector")
    owner.execute("REVOKE USAGE ON SEQUENCE dredge_event_id_seq FROM dredge_collector")
    said = dredge("check", DATABASE_URL=url)
    lines = [line for line in said.out.splitlines() if "\trights\t" in line]
    assert said.code == 1 and [line.partition(" lacks ")[2].partition(":")[0] for line in lines] == [
        "DELETE on manifest, tag",
        "USAGE of sequences on dredge_event",
    ]
    owner.execute("REVOKE SELECT ON dredge_migration FROM dredge_collector")
    assert "lacks SELECT on dredge_migration: deploy/roles.sql" in dredge("check", DATABASE_URL=url).out
    owner.execute(ROLES)
    assert "\trights\t" not in dredge("check", DATABASE_URL=url).out and garbage.objects() == 1


def test_a_worker_that_may_only_look_does_not_start(owner: World, valkey: str, tmp_path: Path) -> None:
    told = {"DREDGE_BROKER_URL": valkey, "DREDGE_DATABASE_URL": url_of("dredge_monitoring", owner)}
    tag = owner.tag("bystander")
    with celery(told, tmp_path, "worker", "-c", "1") as running:
        assert running.process.wait(PATIENCE_S) == 1
    said = [line for line in running.log.splitlines() if line.startswith("dredge: ")]
    assert len(said) == 1 and "dredge_monitoring may only look" in said[0] and "Traceback" not in running.log
    assert tags_of(owner) == {int(tag)}


_GRANTED = """
SELECT c.relname AS name FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND CASE %s
    WHEN 'DELETE' THEN has_table_privilege(%s, c.oid, 'DELETE')
    ELSE has_any_column_privilege(%s, c.oid, %s) END
"""
# Columns that hold passwords and tokens.
SECRETS = """
accesstoken.token_code appspecificauthtoken.token_secret oauthapplication.secure_client_secret
user.password_hash proxycacheconfig.upstream_registry_password robotaccounttoken.token
"""


@pytest.mark.parametrize(("role", "needed"), [("collector", rights.COLLECTOR), ("reader", rights.READER)])
def test_in_a_database_of_quay_each_role_has_exactly_what_it_needs(
    empty_database: str, role: str, needed: rights.Rights
) -> None:
    create_quay_tables(empty_database)
    schema.create()
    quay, name = World(empty_database), f"dredge_{role}"
    quay.execute(ROLES)
    try:
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES"):
            held = {table for (table,) in quay.rows(_GRANTED, (right, name, name, right))}
            there = frozenset(FACTS) | rights.OWN | {schema.HISTORY_TABLE}
            assert held == needed.get(right, frozenset()) & there, right
        for secret in SECRETS.split():
            table, _, column = secret.partition(".")
            asked = "SELECT has_column_privilege(%s, quote_ident(%s)::regclass, %s, 'SELECT')"
            assert quay.value(asked, (name, table, column)) is False, secret
    finally:
        quay.execute("DROP OWNED BY dredge_collector, dredge_reader")
        quay.execute("DROP ROLE dredge_collector, dredge_reader")
        quay.close()


@pytest.mark.parametrize(
    ("right", "statement"), [("INSERT", "INSERT INTO"), ("DELETE", "DELETE FROM"), ("UPDATE", "UPDATE")]
)
def test_every_right_is_used_by_a_statement_and_every_statement_has_its_right(
    right: str, statement: str
) -> None:
    """The owner's modules fill lookup tables and make namespaces; rules of purges are statements, too."""
    owners = {"bulk_load.py", "lookup_rows.py", "namespace.py"}
    paths = [path for path in (ROOT / "model").rglob("*.py") if right != "INSERT" or path.name not in owners]
    paths += [ROOT / "model" / "purge" / "namespace.py"]
    written = {
        table for path in paths for table in re.findall(rf'{statement} "?(\w+)', path.read_text())
    } & set(FACTS)
    ruled = {"DELETE": rights.PURGED, "UPDATE": rights.UNLINKED | rights.LOCKED}.get(right, frozenset())
    assert written | ruled == rights.COLLECTOR[right] - rights.OWN
