"""One name has one kind of value in all JSON, of commands and over HTTP."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage
from tests.worker.cli.walk import CALLS, KEY, files, fill

ROOT = Path(__file__).parents[3]
KINDS = {
    "integer": "number",
    "number": "number",
    "string": "text",
    "boolean": "boolean",
    "array": "list",
    "object": "object",
}
# Numbers where things are counted, lists where each is named; the page of commands says so.
COUNTED = {"failures", "manifests", "repositories", "set_aside", "skipped", "tags"}
# Quay's own `default`; rules as a list, and as the text of a file; what waits, of a webhook or of all work.
OTHERS = {"default", "rules", "waiting"}

Found = defaultdict[str, set[str]]


def kind_of(value: Any) -> str:
    types = ((bool, "boolean"), ((int, float), "number"), (str, "text"), (list, "list"), (dict, "object"))
    return next(kind for type, kind in types if isinstance(value, type))


def gather(value: Any, found: Found) -> None:
    """Note the kind of every named value in a JSON value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if inner is not None:
                found[name].add(kind_of(inner))
            gather(inner, found)
    elif isinstance(value, list):
        for inner in value:
            gather(inner, found)


def gather_schema(schema: Any, found: Found) -> None:
    """Note the kinds that an OpenAPI document gives to the names of properties."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        for name, inner in properties.items() if isinstance(properties, dict) else ():
            for choice in (inner, *inner.get("anyOf", ())):
                found[name] |= {KINDS[choice["type"]]} if choice.get("type") in KINDS else set()
                found[name] |= {"object"} if "$ref" in choice else set()
        for inner in schema.values():
            gather_schema(inner, found)
    elif isinstance(schema, list):
        for inner in schema:
            gather_schema(inner, found)


def test_a_name_has_one_kind_of_value_in_the_json_of_commands_and_over_http(
    world: World,
    garbage: Garbage,
    dredge: Dredge,
    valkey: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: Found = defaultdict(set)
    fill(world, garbage)
    named = files(tmp_path)
    monkeypatch.setenv("DREDGE_WEBHOOK_KEY", KEY)
    for call in CALLS.values():
        said = dredge(*(part.format(**named) for part in call), "--json", BROKER_URL=valkey)
        for line in [*said.out.splitlines(), *said.err.splitlines()]:
            gather(json.loads(line), found)
    assert {"repository", "tags", "due_ms", "bytes"} <= set(found)
    gather_schema(yaml.safe_load((ROOT / "docs/reference/openapi.yaml").read_text()), found)
    several = {name: kinds for name, kinds in found.items() if len(kinds) > 1}
    assert {name: kinds for name, kinds in several.items() if name not in COUNTED | OTHERS} == {}
    assert all(several[name] == {"number", "list"} for name in COUNTED)
    # A time is a number in milliseconds, whatever it is the time of.
    assert {
        name: kinds for name, kinds in found.items() if name.endswith("_ms") and kinds != {"number"}
    } == {}
    page = (ROOT / "docs/reference/commands.md").read_text()
    assert all(f"`{name}`" in page for name in COUNTED)
    assert world.value("SELECT count(*) FROM tag WHERE name = 'bystander'") == 1
