"""The command line: one module per command, imported when the command is used."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from contextlib import suppress

import click

from model.errors import BadInput, RegistryError
from model.running_task import running_task
from worker import logs, stopping
from worker.cli.errors import say_error
from worker.cli.examples import with_examples
from worker.settings import SettingsError

# command: (module, one line of help).  Modules are imported lazily: `dredge --help` opens nothing.
COMMANDS = {
    "init": ("worker.cli.init", "Create missing tables."),
    "embedded": ("worker.cli.embedded", "Run a command with fresh embedded servers."),
    "up": ("worker.cli.up", "Run the whole system in the foreground."),
    "check": ("worker.cli.check", "Verify database, schema, broker, cache and storage."),
    "due": ("worker.cli.due", "What is due, since when, the next try, and why it waits."),
    "scan": ("worker.cli.due", "Another name of due."),
    "plan": ("worker.cli.plan", "Show what a collection would remove; writes nothing."),
    "collect": ("worker.cli.collect", "Collect now, in this process."),
    "enqueue": ("worker.cli.enqueue", "Collect through the workers."),
    "pause": ("worker.cli.pause", "Hold the registry, a namespace or a repository."),
    "approve": ("worker.cli.approve", "Let a collection go on that the breaker has stopped."),
    "resume": ("worker.cli.resume", "Lift a hold."),
    "retry": ("worker.cli.retry", "Try again now what failed and waits."),
    "status": ("worker.cli.status", "Backlog, oldest overdue, failures, freed bytes."),
    "undelete": ("worker.cli.undelete", "Put an object back from the trash."),
    "explain": ("worker.cli.explain", "Why a tag, manifest, blob, repository or object is still there."),
    "tag": ("worker.cli.tag", "List, delete, restore and expire tags."),
    "repository": ("worker.cli.repository", "Delete and restore repositories."),
    "namespace": ("worker.cli.namespace", "Delete and restore namespaces."),
    "retention": ("worker.cli.retention", "Run retention rules, and see what they ended."),
    "inuse": ("worker.cli.inuse", "The list of digests that run somewhere."),
    "webhook": ("worker.cli.webhook", "Send events to HTTP endpoints."),
    "events": ("worker.cli.events", "Watch events."),
    "history": ("worker.cli.history", "What past collections freed."),
    "import": ("worker.cli.import_", "Read an OCI image layout into a repository."),
    "export": ("worker.cli.export", "Write a tag as an OCI image layout."),
    "sample": ("worker.cli.sample", "Fill the registry with a synthetic workload."),
    "sweep": ("worker.cli.sweep", "Find orphans: garbage that no tag leads to."),
    "verify": ("worker.cli.verify", "Prove by certificates why each manifest and blob went."),
    "fsck": ("worker.cli.fsck", "Check every invariant between rows and objects."),
    "web": ("worker.cli.web", "Serve the status page and the HTTP API."),
    "quay-storage": ("worker.cli.quay_storage", "Translate Quay's storage configuration."),
    "completion": ("worker.cli.completion", "Complete commands and repositories in a shell."),
    "demo": ("worker.cli.demo", "All of it, from nothing, verified."),
}

_STOPPED = "stopped; what was committed stays, the rest waits for the next run"
_REFUSED = "nothing was changed: the question was not answered with yes (--yes does not ask)"
# Exit codes after SIGINT and SIGPIPE.
INTERRUPTED = 130
READER_LEFT = 141
# Packages of the extras, which a production installation may lack.
EXTRA_OF = {"zstandard": "local", "uvicorn": "web", "fastapi": "web", "jinja2": "web"}


class Lazy(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        except ModuleNotFoundError as error:
            extra = EXTRA_OF.get(error.name or "")
            if extra is None:
                raise
            raise click.ClickException(
                f"dredge {cmd_name} needs {error.name}: pip install 'quay-dredge[{extra}]'"
            ) from None
        return with_examples(cmd_name, command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            found = super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], COMMANDS, n=2)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(close)}?", ctx) from None
        # The command is loaded, and will hold connections and locks.
        stopping.raise_from_now_on()
        return found

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted(getattr(error, "exit_code", INTERRUPTED)) from None
        except BrokenPipeError:
            raise Interrupted(READER_LEFT) from None
        finally:
            stopping.end_from_now_on()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="quay-dredge", prog_name="dredge")
def dredge() -> None:
    """Collect the garbage of a container registry with Quay's data model.

    Configured by DREDGE_* variables; without a database or broker URL, `dredge demo`,
    `dredge up` and `dredge embedded` start their own servers.
    """


class Interrupted(Exception):
    """A signal, or the end of the reader of the output, ended the command.

    It is no `KeyboardInterrupt` and no `OSError`, because click would end the command in its own way.
    """

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__()


def main(args: list[str] | None = None) -> None:
    """Run the command line and end the process.

    The exit code is 2 for wrong usage, 1 for a failure, and 128 + n after signal n: 130 after Ctrl-C.  Each
    writes one line to standard error, or with `--json` one JSON object.  If the reader of the output leaves
    (`dredge history | head -1`), the command ends silently with 141, as other programs do.
    """
    given = sys.argv[1:] if args is None else args
    running_task.set(" ".join(["dredge", *given[:1]]))
    code: object = READER_LEFT
    # An error may have no reader either.
    with suppress(BrokenPipeError):
        try:
            code = _run(given, as_json=stopping.asks_for_json(given))
        finally:
            sys.stdout.flush()
    if code == READER_LEFT:
        # Nothing is left to be flushed when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code if isinstance(code, int) else 0)


def _run(given: list[str], *, as_json: bool) -> object:
    """Run a command.  Returns its exit code, or None."""
    try:
        return dredge.main(args=given, prog_name="dredge", standalone_mode=False)
    except Interrupted as error:
        if error.exit_code != READER_LEFT:
            _say_stopped(error.exit_code, as_json=as_json)
        return error.exit_code
    except (SettingsError, RegistryError) as error:
        return _say_ours(error, as_json=as_json)
    except click.ClickException as error:
        return _say_usage(error, as_json=as_json)
    except click.Abort as error:
        if isinstance(error.__cause__, stopping.Stopped):  # The signal arrived while `invoke` ended.
            _say_stopped(error.__cause__.exit_code, as_json=as_json)
            return error.__cause__.exit_code
        say_error(_REFUSED, as_json=as_json)
        return 1
    except Exception as error:
        # No error ends in a traceback.
        logging.getLogger("dredge").debug("command.failed", exc_info=True)
        known = isinstance(error, OSError)
        unknown = f"unexpected {type(error).__name__}: {error}: DREDGE_LOG_LEVEL=debug shows where; report it"
        say_error(str(error) if known else unknown, as_json=as_json)
        return 1


def _say_stopped(code: int, *, as_json: bool) -> None:
    if sys.stderr.isatty():
        # The terminal shows ^C on the current line.
        click.echo(err=True)
    say_error(_STOPPED, as_json=as_json, code=code)


def _say_ours(error: SettingsError | RegistryError, *, as_json: bool) -> int:
    """Print an error of Dredge.  Returns the exit code."""
    if isinstance(error, RegistryError):
        code = 2 if isinstance(error, BadInput) else 1
        say_error(str(error), as_json=as_json, code=code)
        return code
    if as_json:
        text = f"configuration: {'; '.join(error.problems)}"
        say_error(text, as_json=True, code=2, problems=list(map(logs.masked, error.problems)))
    else:
        for problem in error.problems:
            say_error(f"configuration: {problem}", as_json=False)
    return 2


def _say_usage(error: click.ClickException, *, as_json: bool) -> int:
    """Print an error in the call, with the help page to read.  Returns the exit code."""
    context = getattr(error, "ctx", None)
    if as_json:
        help_page = {"help": f"{context.command_path} --help"} if context else {}
        say_error(error.format_message(), as_json=True, code=error.exit_code, **help_page)
    else:
        error.show()
    return error.exit_code
