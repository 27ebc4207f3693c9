"""Settings, commands and findings that texts name exist, and every setting is read by some code."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import botocore
import opentelemetry.sdk
import prometheus_client
from click import Group

from model.cache.keys import KINDS
from tests.support.findings import FIXED
from worker import former_names
from worker.cli import COMMANDS, dredge
from worker.settings import PREFIX, Settings, SettingsError

ROOT = Path(__file__).parents[2]
CODE = {path: path.read_text() for top in ("model", "worker") for path in (ROOT / top).rglob("*.py")}
PAGES = {path: path.read_text() for path in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]}
NAMES = {each.name for each in fields(Settings)}
# Variables of one kind of cache entry, files of secrets, and settings of earlier versions.
OTHERS = {
    *(f"CACHE_TTL_{kind.upper()}" for kind in KINDS),
    *(f"CACHE_MAX_BYTES_{kind.upper()}" for kind in KINDS),
    *(f"{name.upper()}_FILE" for name in NAMES),
    *(name.removeprefix(PREFIX) for name in former_names.SETTINGS),
}
# What Kubernetes and shells set, and the beginnings of the above.
STRANGERS = {"PORT", "SERVICE_HOST", "COMPLETE", "CACHE_TTL", "CACHE_MAX_BYTES"}


def named(pattern: str, texts: dict[Path, str]) -> Iterator[tuple[str, str]]:
    """Every match with the file that has it."""
    for path, text in texts.items():
        for match in re.finditer(pattern, text):
            yield match[1], str(path.relative_to(ROOT))


def test_every_setting_that_code_or_a_page_names_exists() -> None:
    known = {name.upper() for name in NAMES} | OTHERS | STRANGERS
    found = named(rf"\b{PREFIX}([A-Z][A-Z_]*[A-Z])\b", CODE | PAGES)
    assert sorted({(name, where) for name, where in found if name not in known}) == []


def test_every_variable_of_a_library_that_code_or_a_page_names_is_read_by_it() -> None:
    libraries = {"AWS_": botocore, "OTEL_": opentelemetry.sdk, "PROMETHEUS_": prometheus_client}
    found = dict(named(r"\b((?:AWS|OTEL|PROMETHEUS|SSL)_[A-Z_]+[A-Z])\b", CODE | PAGES))
    assert {"AWS_CA_BUNDLE", "OTEL_SERVICE_NAME", "SSL_CERT_FILE"} <= set(found)
    for name, where in found.items():
        if name in ssl.get_default_verify_paths():
            continue
        (library,) = (library for prefix, library in libraries.items() if name.startswith(prefix))
        sources = [source for top in library.__path__ for source in Path(top).rglob("*.py")]
        assert any(name in source.read_text() for source in sources), (name, where)


def test_every_setting_that_a_page_sets_has_a_value_that_is_accepted() -> None:
    pattern = rf"(?<![-$A-Z_])({PREFIX}[A-Z_]+=(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s`'\";,)|…]+))"
    given = {
        (each.partition("=")[0], each.partition("=")[2].strip("'\"")) for each, _ in named(pattern, PAGES)
    }
    wrong = {}
    for name, value in given:
        if name.endswith("_FILE") or "$" in value or value.endswith("://"):
            continue
        try:
            Settings.from_env({name: value})
        except SettingsError as error:
            wrong[f"{name}={value}"] = error.problems
    assert len(given) > 20 and wrong == {}


def test_every_event_that_a_page_names_has_a_schema() -> None:
    types = {path.stem for path in (ROOT / "docs" / "reference" / "schemas").glob("*.json")}
    found = set(named(r"`registry\.([a-z_]+\.[a-z_]+)`", PAGES))
    assert len(found) > 10 and {(name, where) for name, where in found if name not in types} == set()


def test_every_setting_is_read_by_some_code() -> None:
    definitions = {path for path in CODE if path.name.startswith("settings")}
    text = "\n".join(text for path, text in CODE.items() if path not in definitions)
    text += (ROOT / "celeryconfig.py").read_text()
    inside = "\n".join(CODE[path] for path in definitions)
    unread = {
        name
        for name in NAMES
        if not re.search(rf"\.{name}\b", text) and not re.search(rf"\bself\.{name}\b", inside)
    }
    assert unread == set()


def test_every_command_that_a_message_names_exists() -> None:
    below = {
        (name, deeper)
        for name in COMMANDS
        if isinstance(group := dredge.get_command(None, name), Group)  # type: ignore[arg-type]
        for deeper in group.commands
    }
    groups = {name for name, _ in below}
    wrong = set()
    for command, where in named(r"`dredge ([a-z][a-z -]*[a-z])", CODE | PAGES):
        words = command.split()
        if words[0] not in COMMANDS or (words[0] in groups and words[1:] and tuple(words[:2]) not in below):
            wrong.add((command, where))
    assert wrong == set()


def test_every_finding_that_a_page_names_is_one_of_fsck() -> None:
    names = {check.name for check in FIXED} | set(former_names.FINDINGS.values())
    kinds = {name.partition("-")[0] for name in names}
    looks_like = re.compile(r"(?:" + "|".join(sorted(kinds)) + r")-[a-z]+(?:-[a-z]+)*")
    pages = {path: text for path, text in PAGES.items() if "fsck" in text}
    said = {each for each in named(r"`([a-z]+(?:-[a-z]+)+)`", pages) if looks_like.fullmatch(each[0])}
    assert said and {(name, where) for name, where in said if name not in names} == set()
