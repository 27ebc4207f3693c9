"""`dredge tag`, as a person and as a script uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model.db.clock import NOW_MS_SQL
from tests.support.world import World
from worker import cli

HOUR_MS = 3_600_000
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dredge(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `dredge tag …`: exit code, standard output, standard error."""
    monkeypatch.setenv("DREDGE_DATABASE_URL", world.url)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["tag", *arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_list_shows_alive_tags_by_name(world: World, dredge: Run) -> None:
    tag = world.tag("v2")
    world.tag("v1", ended_ms=world.now_ms + HOUR_MS)
    world.tag("gone", ended_ms=world.now_ms - HOUR_MS)
    world.tag("$temp-1", hidden=True)
    code, out, _ = dredge("list", "acme/app")
    assert code == 0 and out.index("v1") < out.index("v2") and "gone" not in out and "$temp" not in out
    code, out, _ = dredge("list", "acme/app", "--json", "--limit", "5")
    assert [line["name"] for line in lines(out)] == ["v1", "v2"] and lines(out)[1]["id"] == tag


def test_a_deleted_tag_is_in_the_history_and_comes_back(world: World, dredge: Run) -> None:
    tag = world.tag("v1")
    with world.changes() as changes:
        code, out, _ = dredge("delete", "acme/app:v1", "--json")
    assert code == 0 and lines(out)[0]["id"] == tag and set(changes.changed["tag"]) == {tag}
    code, out, _ = dredge("history", "acme/app:v1", "--json")
    assert [line["restorable"] for line in lines(out)] == [True]
    code, out, _ = dredge("restore", "acme/app:v1")
    assert code == 0 and tag.manifest.digest in out
    code, out, _ = dredge("history", "acme/app")
    assert code == 0 and out.count(tag.manifest.digest) == 2
    code, out, _ = dredge("restore", "acme/app:v1", tag.manifest.digest, "--json")
    assert code == 0 and lines(out)[0]["reversion"] is True


def test_every_tag_of_a_manifest_is_deleted_by_its_digest(world: World, dredge: Run) -> None:
    image = world.manifest()
    tags = {world.tag(name, manifest=image) for name in ("v1", "v2")}
    world.tag("v3")
    with world.changes() as changes:
        code, out, _ = dredge("delete", f"acme/app@{image.digest}")
    assert code == 0 and set(changes.changed["tag"]) == tags and out.count("deleted") == 2


def test_a_permanently_deleted_tag_does_not_come_back(world: World, dredge: Run) -> None:
    world.tag("v1")
    world.tag("v2")
    assert dredge("delete", "acme/app:v1", "--permanently")[0] == 0
    code, _, err = dredge("restore", "acme/app:v1")
    assert code == 1 and "dredge tag history" in err and err.count("\n") == 1
    assert lines(dredge("history", "acme/app", "--json")[1])[0]["name"] == "v2"


def test_an_expiry_comes_and_goes(world: World, dredge: Run) -> None:
    tag = world.tag("v1", start_ms=world.now_ms)
    code, out, _ = dredge("expire", "acme/app:v1", "--in", "2d", "--json")
    begun_ms = lines(out)[0]["end_ms"] - 48 * HOUR_MS
    assert code == 0 and world.now_ms <= begun_ms <= world.value(f"SELECT {NOW_MS_SQL}")
    noon = (datetime.now(UTC) + timedelta(days=300)).replace(hour=12, minute=0, second=0, microsecond=0)
    code, out, _ = dredge("expire", "acme/app:v1", "--at", f"{noon:%Y-%m-%dT%H:%M:%S}", "--json")
    assert lines(out)[0]["end_ms"] == int(noon.timestamp()) * 1000
    assert "never" in dredge("expire", "acme/app:v1", "--never")[1]
    assert world.value("SELECT lifetime_end_ms FROM tag WHERE id = %s", (int(tag),)) is None


def test_mistakes_are_one_line_and_change_nothing(world: World, dredge: Run) -> None:
    world.tag("v1")
    world.tag("kept", immutable=True)
    with world.changes() as changes:
        for code, *arguments in (
            (1, "delete", "acme/app:v2"),
            (1, "delete", "acme/app:kept"),
            (1, "delete", "acme/none:v1"),
            (2, "delete", "acme/app:'; DROP TABLE tag; --"),
            (1, "restore", "acme/app:v1", "sha256:" + "0" * 64),
            (2, "restore", "acme/app:v1", "sha256:short"),
            (1, "expire", "acme/app:v2", "--never"),
            (1, "list", "acme/none"),
            (2, "history", "acme"),
        ):
            got, _, err = dredge(*arguments)
            assert got == code and err.startswith("dredge: ") and err.count("\n") == 1, arguments
        for arguments in (
            ["expire", "acme/app:v1"],
            ["expire", "acme/app:v1", "--in", "soon"],
            ["expire", "acme/app:v1", "--at", "noon"],
            ["expire", "acme/app:v1", "--in", "1h", "--never"],
            ["delete"],
        ):
            assert dredge(*arguments)[0] == 2, arguments
    assert not changes


def test_a_database_without_tables_is_one_line_that_says_what_to_do(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREDGE_DATABASE_URL", empty_database)
    with pytest.raises(SystemExit) as ended:
        cli.main(["tag", "list", "acme/app"])
    err = capsys.readouterr().err
    assert ended.value.code == 1 and "dredge init" in err and err.count("\n") == 1
