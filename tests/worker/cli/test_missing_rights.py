"""A right that is missing is named in one line, with the statement that grants it; carried out, it works."""

from __future__ import annotations

import re

import pytest

from model import registry
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage
from tests.worker.cli.test_roles import owner as owner
from tests.worker.cli.test_roles import url_of

GRANT = re.compile(r"(GRANT [^;]+);")


def granted(world: World, text: str) -> str:
    """Carry out the statement that an error names; return it."""
    found = GRANT.search(text)
    assert found, text
    world.execute(found.group(1))
    return found.group(1)


@pytest.mark.parametrize("table", ["plugin", "Plug-in", "order"])
def test_a_purge_that_meets_an_unknown_foreign_key_says_which_right_it_lacks(
    owner: World, dredge: Dredge, garbage: Garbage, table: str
) -> None:
    doomed = owner.repository("doomed")
    owner.execute(f'CREATE TABLE "{table}" (id serial, repository_id integer REFERENCES repository (id))')
    owner.execute(f'INSERT INTO "{table}" (repository_id) VALUES (%s)', (int(doomed),))
    registry.delete_repository("acme/doomed")
    url = url_of("dredge_worker", owner)
    refused = dredge("collect", "--all", DATABASE_URL=url, PURGE_GRACE_S="0")
    assert refused.code == 1 and "lacks SELECT on table" in refused.err, refused.err
    assert granted(owner, refused.err) == f'GRANT SELECT ON "{table}" TO "dredge_worker"'
    assert dredge("retry", DATABASE_URL=url).code == 0
    stopped = dredge("collect", "--all", DATABASE_URL=url, PURGE_GRACE_S="0")
    assert stopped.code == 1 and "lacks" not in stopped.err and f"{table}.repository_id" in stopped.err
    owner.execute(f'DROP TABLE "{table}"')
    assert dredge("retry", DATABASE_URL=url).code == 0
    assert dredge("collect", "--all", DATABASE_URL=url, PURGE_GRACE_S="0").code == 0
    assert owner.rows("SELECT name FROM repository") == [("app",)]


@pytest.mark.parametrize(
    ("revoked", "prepared"),
    [
        ("DELETE ON manifest", "true"),
        ("DELETE ON manifest", "false"),
        ("SELECT ON tag", "true"),
        ("UPDATE ON manifest", "false"),
        ("INSERT ON dredge_blob_candidate", "true"),
        ("USAGE ON SEQUENCE dredge_blob_candidate_id_seq", "true"),
    ],
)
def test_each_kind_of_right_is_named_and_what_is_named_is_enough(
    owner: World, dredge: Dredge, garbage: Garbage, revoked: str, prepared: str
) -> None:
    garbage.image("old", dead_for_ms=1)
    settings = {"DATABASE_URL": url_of("dredge_worker", owner), "PREPARED_STATEMENTS": prepared}
    owner.execute(f"REVOKE {revoked} FROM dredge_collector")
    refused = dredge("collect", "--all", **settings)
    assert refused.code == 1 and "Traceback" not in refused.err
    right, place = revoked.split()[0], revoked.split()[-1]
    statement = granted(owner, refused.err)
    assert right in statement and place in statement and statement.endswith('TO "dredge_worker"')
    assert dredge("retry", **settings).code == 0
    done = dredge("collect", "--all", **settings)
    assert done.code == 0, done.err
    assert owner.rows("SELECT id FROM tag") == [(int(garbage.kept),)]


def test_a_schema_that_may_not_be_used_is_one_line(owner: World, dredge: Dredge, garbage: Garbage) -> None:
    owner.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC, dredge_collector, dredge_reader")
    try:
        said = dredge("status", DATABASE_URL=url_of("dredge_worker", owner))
    finally:
        owner.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    assert said.code == 1 and len(said.err.splitlines()) == 1, said.err
    assert owner.value("SELECT count(*) FROM tag") == 1 == garbage.objects()
