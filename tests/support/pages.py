"""Generate pages from the code: commands, settings, cases, the HTTP API, webhooks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from click import Group
from click.testing import CliRunner

from tests.model.retention.quay_policy_cases import PAGE as AUTO_PRUNE
from tests.model.retention.quay_policy_cases import cases_page
from tests.support.asyncapi import asyncapi
from tests.support.findings import FINDINGS, findings_page
from worker.cli import COMMANDS, dredge
from worker.settings import PREFIX, Settings
from worker.web.app import build
from worker.web.openapi import as_yaml
from worker.wiring import in_process

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "reference"
PAGE = DOCS / "commands.md"
CONFIGURATION = DOCS / "configuration.md"
ASYNCAPI = ROOT / "docs" / "asyncapi.yaml"
OPENAPI = DOCS / "openapi.yaml"
CASES = ROOT / "docs" / "explanation" / "cases.md"
CASE_ROW = re.compile(r"^\| (\d+) \| ([SLAF ]+) \| ([^|]+) \|.*$", re.MULTILINE)

HEAD = """\
# Commands

What each command says about itself (`make docs` writes this page). All read `DREDGE_*` variables, see
[configuration](configuration.md). Results go to standard output, progress and errors to standard error.

- On a terminal a row of a table is one line: digests are short, times lose their seconds if the row is
  too wide, and long sentences are cut. In a pipe every cell is whole, and tabs separate cells.
- With `--json` a command prints JSON lines. An error is one JSON object on standard error: `error`,
  `exit_code`, for a wrong call `help`, and for wrong settings `problems`. `{"warning": …}` is a problem
  that does not end the command. No question is asked; give `--yes`.
- A name in JSON has one kind of value, also over HTTP. Times end in `_ms`: milliseconds since 1970.
  `failures`, `manifests`, `repositories`, `set_aside`, `skipped` and `tags` are numbers where things are
  counted, and lists where each of them is named.
- The exit code is 0 when the command is done, 1 when it failed, 2 when it was called wrongly, 128 + n
  after signal n (130 after Ctrl-C), and 141 when the reader of its output has left. A signal is the
  normal end of `up`, `web`, `events tail` and `status --watch`: 0.

A repository is written `namespace/name`, a tag `namespace/name:tag`, a manifest `namespace/name@sha256:…`.
"""


def below(name: str) -> list[tuple[str, ...]]:
    """Return the command, and the commands of its group."""
    found = dredge.get_command(None, name)  # type: ignore[arg-type]
    more = found.commands if isinstance(found, Group) else ()
    return [(name,), *((name, deeper) for deeper in more)]


def help_of(command: tuple[str, ...], *, columns: int = 88) -> str:
    """Return the output of `--help` on a terminal of so many columns."""
    arguments = [*command, "--help"]
    result = CliRunner().invoke(dredge, arguments, terminal_width=columns, prog_name="dredge")
    if result.exit_code:
        raise RuntimeError(f"dredge {' '.join(arguments)}: {result.output} {result.exception!r}")
    return result.output


def page() -> str:
    """Return the whole page of commands."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name in COMMANDS:
        yield f"## dredge {name}\n"
        for command in below(name):
            yield f"```\n{help_of(command).rstrip()}\n```\n"


def setting_row(field: Field[Any]) -> str:
    """Return a setting's row in the table of `docs/reference/configuration.md`."""
    help = field.metadata["help"].replace("|", "\\|")
    secret = " (secret)" if field.metadata["secret"] else ""
    return f"| `{_variable(field)}` | {_default(field)} | {help}{secret} |"


def _variable(field: Field[Any]) -> str:
    per_kind = {"cache_ttls": "CACHE_TTL_<KIND>", "cache_sizes": "CACHE_MAX_BYTES_<KIND>"}
    return PREFIX + per_kind.get(field.name, field.name.upper())


def _default(field: Field[Any]) -> str:
    value = field.default
    if value is MISSING or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) and value < 1e6 else f"`{value}`"


def refreshed_configuration(text: str) -> str:
    """Return the page with a current row per setting; a new one follows the setting before it in the code."""
    rows = {_variable(field): setting_row(field) for field in fields(Settings)}
    named = re.compile(r"\| `([^`]+)` \|")
    lines: list[str] = []
    for line in text.splitlines():
        variable = match[1] if line.startswith(f"| `{PREFIX}") and (match := named.match(line)) else None
        if variable is None:
            lines.append(line)
        elif variable in rows:
            lines.append(rows[variable])
    for before, variable in zip(["", *rows], rows, strict=False):
        if rows[variable] not in lines:
            after = rows[before] if before else "| --- | --- | --- |"
            lines.insert(lines.index(after) + 1, rows[variable])
    return "\n".join(lines) + "\n"


def case_tests() -> dict[int, list[str]]:
    """Return links to the tests whose names contain a case, by case; a test may name several."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in re.findall(r"^def (test_case_\w+)", path.read_text(), re.MULTILINE):
            parts = re.fullmatch(r"test_case_((?:\d+_)+)(\w+)", name)
            if parts is None:
                raise ValueError(f"{path}: {name} names no case")
            link = f"[{parts[2].replace('_', ' ')}](../../{path.relative_to(ROOT)})"
            for number in parts[1].strip("_").split("_"):
                found[int(number)].append(link)
    return found


def refreshed_cases(text: str) -> str:
    """Return the page with the tests of each case."""
    tests = case_tests()
    return CASE_ROW.sub(
        lambda row: f"| {row[1]} | {row[2]} | {row[3]} | {', '.join(tests.get(int(row[1]), []))} |", text
    )


def openapi() -> str:
    """Return the OpenAPI document of `dredge web`."""
    return as_yaml(build(in_process(Settings())).openapi())


if __name__ == "__main__":
    FINDINGS.write_text(findings_page())
    AUTO_PRUNE.write_text(cases_page())
    CASES.write_text(refreshed_cases(CASES.read_text()))
    CONFIGURATION.write_text(refreshed_configuration(CONFIGURATION.read_text()))
    PAGE.write_text(page())
    OPENAPI.write_text(openapi())
    ASYNCAPI.write_text(as_yaml(asyncapi()))
