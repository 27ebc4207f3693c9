"""`dredge completion`: complete commands, options and repositories with the Tab key."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import get_completion_class

from worker.cli import output

_FILES = {
    "bash": ".local/share/bash-completion/completions/dredge",
    "zsh": ".local/share/zsh/site-functions/_dredge",
    "fish": ".config/fish/completions/dredge.fish",
}
# Where a shell does not look there by itself: its file of commands at the start, and a line for it.
_AT_START = {
    "bash": (".bashrc", ". ~/.local/share/bash-completion/completions/dredge"),
    "zsh": (".zshrc", "fpath=(~/.local/share/zsh/site-functions $fpath); autoload -Uz compinit && compinit"),
}


@click.command("completion")
@click.argument("shell", type=click.Choice(sorted(_FILES)))
@click.option("--install", is_flag=True, help="Write the script, and load it in each new shell.")
def command(shell: str, install: bool) -> None:
    """Print the script that completes commands, options and repositories in a shell.

    Repositories are completed only if DREDGE_DATABASE_URL is set.  With --install, bash and zsh get a line
    in ~/.bashrc or ~/.zshrc.
    """
    kind = get_completion_class(shell)
    root = click.get_current_context().find_root()
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(root.command, {}, "dredge", "_DREDGE_COMPLETE").source()
    if not install:
        click.echo(script)
        return
    target = Path.home() / _FILES[shell]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(script)
        if shell in _AT_START:
            _append(Path.home() / _AT_START[shell][0], _AT_START[shell][1])
    except OSError as error:
        output.fail(f"cannot write {target}: {error.strerror}")
    click.echo(f"Wrote {target}; it works in the next shell.")


def _append(file: Path, line: str) -> None:
    """Add a line to a file that lacks it."""
    known = file.read_text() if file.exists() else ""
    if line not in known.splitlines():
        start = "" if not known or known.endswith("\n") else "\n"
        with file.open("a") as opened:
            opened.write(f"{start}{line}\n")
