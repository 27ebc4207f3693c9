"""`python -m bench.picture`: run the demonstration on a virtual terminal, and draw its output."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

WIDTH = 72


@click.command()
@click.option("--manifests", default=500, show_default=True, help="Size of the demonstration.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("docs/figures/demo.svg"),
    show_default=True,
    help="File to write.",
)
def main(manifests: int, out: Path) -> None:
    """Draw a run of `dredge demo` as an SVG file."""
    lines = _run(["dredge", "demo", "--manifests", str(manifests)])
    with Path(os.devnull).open("w") as nowhere:
        screen = Console(record=True, width=WIDTH, file=nowhere)
        screen.print(Text("$ dredge demo", style="bold"))
        for line in lines:
            screen.print(Text.from_ansi(line))
        screen.save_svg(str(out), title="dredge demo")


def _run(command: list[str]) -> list[str]:
    """Return the lines that a command leaves on a terminal of `WIDTH` columns."""
    leader, follower = pty.openpty()
    here = Path(sys.executable).parent
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    with subprocess.Popen(
        [here / command[0], *command[1:]], stdout=follower, stderr=subprocess.DEVNULL, env=environment
    ):
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65_536)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(leader)
    return shown.decode().replace("\r\n", "\n").rstrip("\n").split("\n")


if __name__ == "__main__":
    main()
