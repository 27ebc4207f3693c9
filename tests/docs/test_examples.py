"""Every help page ends with examples."""

from __future__ import annotations

from tests.support.pages import below, help_of
from worker.cli import COMMANDS
from worker.cli.examples import EXAMPLES


def test_every_command_has_an_example_that_names_it() -> None:
    commands = [" ".join(command) for name in COMMANDS for command in below(name)]
    assert [name for name in commands if name not in EXAMPLES] == []
    for name in commands:
        assert all(f"  dredge {name}" in f"  {line}" or "-- dredge" in line for line in EXAMPLES[name])
        assert EXAMPLES[name][0] in help_of(tuple(name.split()))
