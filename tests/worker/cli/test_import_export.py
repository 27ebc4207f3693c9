"""`dredge import` and `dredge export`, as people and scripts see them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model.cache.open import open_cache
from model.db import connection as database
from model.registry.cached import CachedLookups
from model.repository import by_name
from tests.support.layouts import index_of, plain_layout, rich_layout
from worker.cli import dredge
from worker.cli import main as run_dredge


@pytest.fixture
def environment(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    (tmp_path / "objects").mkdir()
    found = {"DREDGE_DATABASE_URL": database, "DREDGE_STORAGE": f"file://{tmp_path}/objects?fsync=off"}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def _run(environment: Mapping[str, str], *arguments: object) -> Result:
    return CliRunner().invoke(dredge, [str(one) for one in arguments], env=dict(environment))


def test_there_and_back_in_words_and_in_json(environment: dict[str, str], tmp_path: Path) -> None:
    layout = rich_layout(tmp_path / "layout")
    said = _run(environment, "import", layout, "new/repo")
    assert said.exit_code == 0, said.output
    assert "Imported 8 manifests (8 new)" in said.stdout
    assert "Tags: multi, single." in said.stdout
    again = json.loads(_run(environment, "import", layout, "new/repo", "--json").stdout)
    assert (again["manifests"], again["new_manifests"], again["tags"]) == (8, 0, ["multi", "single"])
    out = tmp_path / "out"
    assert "(4 referrers)" in _run(environment, "export", "new/repo:multi", out).stdout
    done = json.loads(_run(environment, "export", "new/repo:single", out, "--json").stdout)
    assert (done["image"], done["manifests"], done["missing"]) == ("new/repo:single", 1, 0)
    assert len(index_of(out)["manifests"]) == 6


def test_an_image_without_a_name_gets_one_or_a_warning(environment: dict[str, str], tmp_path: Path) -> None:
    layout = plain_layout(tmp_path / "layout", tag=None)
    warned = _run(environment, "import", layout, "new/repo")
    assert warned.exit_code == 0
    assert "1 image without a tag" in warned.stderr
    assert _run(environment, "import", layout, "new/repo", "--tag", "mine").exit_code == 0
    assert _run(environment, "export", "new/repo:mine", tmp_path / "out").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("import", "{tmp}", "new/repo"), 1, "oci-layout"),
        (("import", "{tmp}/rich", "new/repo", "--tag", "x"), 1, "--tag is for a layout of one"),
        (("import", "{tmp}/plain", "new/repo", "--tag", "-x"), 2, "is not a tag"),
        (("import", "{tmp}/plain", "norepo"), 2, "namespace/name"),
        (("export", "new/repo:nope", "{tmp}/out"), 1, "There is no repository"),
        (("export", "new/repo", "{tmp}/out"), 2, "namespace/name:tag"),
    ],
)
def test_a_mistake_is_one_line_and_has_the_exit_code_of_its_kind(
    environment: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    rich_layout(tmp_path / "rich")
    plain_layout(tmp_path / "plain")
    with pytest.raises(SystemExit) as ended:
        run_dredge([argument.format(tmp=tmp_path) for argument in arguments])
    assert ended.value.code == code
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert message.startswith("dredge: ")


def test_readers_with_a_cache_see_an_import_at_once(
    environment: dict[str, str], tmp_path: Path, valkey: str
) -> None:
    environment["DREDGE_CACHE_URL"] = valkey
    layout = plain_layout(tmp_path / "layout")
    assert _run(environment, "import", layout, "new/repo", "--tag", "one").exit_code == 0
    cached = CachedLookups(open_cache(valkey))
    database.configure(environment["DREDGE_DATABASE_URL"])
    found = by_name("new", "repo")
    assert found is not None
    assert [tag["name"] for tag in cached.active_tags(found.id)["tags"]] == ["one"]
    assert _run(environment, "import", layout, "new/repo", "--tag", "two").exit_code == 0
    database.configure(environment["DREDGE_DATABASE_URL"])
    assert [tag["name"] for tag in cached.active_tags(found.id)["tags"]] == ["one", "two"]
