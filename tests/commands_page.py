"""`docs/commands.md`, made of what the commands say about themselves: `make docs` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from click import Group
from click.testing import CliRunner

from worker.cli import COMMANDS, dredge

PAGE = Path(__file__).parent.parent / "docs/commands.md"

HEAD = """\
# Commands

What each command says about itself (`make docs` writes this page). All read `DREDGE_*` variables, see
[configuration](configuration.md). Tables go to standard output, progress and errors to standard error; with
`--json` a command prints JSON lines. The exit code is 0 when it is done, 1 when it failed and 2 when it was
called wrongly.

A repository is written `namespace/name`, a tag `namespace/name:tag`, a manifest `namespace/name@sha256:…`.
"""


def below(name: str) -> list[tuple[str, ...]]:
    """The command, and the commands of its group."""
    found = dredge.get_command(None, name)  # type: ignore[arg-type]
    more = found.commands if isinstance(found, Group) else ()
    return [(name,), *((name, deeper) for deeper in more)]


def help_of(command: tuple[str, ...]) -> str:
    """What the command prints for `--help`."""
    arguments = [*command, "--help"]
    result = CliRunner().invoke(dredge, arguments, terminal_width=88, prog_name="dredge")
    if result.exit_code:
        raise RuntimeError(f"dredge {' '.join(arguments)}: {result.output} {result.exception!r}")
    return result.output


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name in COMMANDS:
        yield f"## dredge {name}\n"
        for command in below(name):
            yield f"```\n{help_of(command).rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page())
