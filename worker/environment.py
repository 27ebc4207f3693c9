"""Read environment variables into the fields of a settings class, and report all problems at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any

import click

from worker import former_names
from worker.spelling import did_you_mean, nearest

PREFIX = "DREDGE_"
FILE = "_FILE"

# Kubernetes sets these in every container of a namespace with a Service called `dredge` or `dredge-…`.
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_SERVICE = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


class SettingsError(Exception):
    """The configuration is wrong; `problems` has one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class WrongConfiguration(click.ClickException):
    """A `SettingsError` in the form that ends Celery's command line with one line for each problem."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))

    def show(self, file: Any = None) -> None:
        """Write the lines to standard error."""
        for problem in self.problems:
            click.echo(f"dredge: configuration: {problem}", file=file, err=True)


@contextmanager
def in_few_lines() -> Iterator[None]:
    """Turn a `SettingsError` of the block into one that ends Celery's command line in a few lines."""
    try:
        yield
    except SettingsError as error:
        raise WrongConfiguration(error.problems) from None


def setting(default: Any, parse: Callable[[str], Any], help: str, *, secret: bool = False) -> Any:
    """Define a field of `Settings`: its default, the parser of its text, and its line in the documentation.

    A secret never appears in a `repr`, and can be read from a file.
    """
    made = {"default_factory": default} if callable(default) else {"default": default}
    return field(**made, repr=not secret, metadata={"parse": parse, "help": help, "secret": secret})


def read(
    cls: type, environ: Mapping[str, str], *, per_kind: Mapping[str, str], kinds: tuple[str, ...]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the fields that `environ` sets, and one line for each problem.

    `per_kind` maps fields that have one variable for each of `kinds` to the prefix of those variables.
    """
    values: dict[str, Any] = {name: {} for name in per_kind}
    problems: list[str] = []
    by_variable = {PREFIX + f.name.upper(): f for f in fields(cls) if f.name not in per_kind}
    parsers = {f.name: f.metadata["parse"] for f in fields(cls) if f.name in per_kind}
    given, from_files = _given(environ, by_variable)
    problems += from_files
    for variable, raw in sorted(given.items()):
        try:
            if variable in by_variable:
                found = by_variable[variable]
                values[found.name] = found.metadata["parse"](raw)
            elif name := next((n for n in per_kind if variable.startswith(per_kind[n])), ""):
                kind = variable.removeprefix(per_kind[name]).lower()
                if kind not in kinds:
                    raise ValueError(f"no such kind of cache entry; there are {', '.join(kinds)}")
                values[name][kind] = parsers[name](raw)
            else:
                known = [
                    *by_variable,
                    *(prefix + kind.upper() for prefix in per_kind.values() for kind in kinds),
                ]
                advice = did_you_mean(nearest(variable, known))
                problems.append(f"{variable}: no such setting{advice}")
        except ValueError as error:
            problems.append(f"{variable}: {error}")
    return values, problems


def _given(
    environ: Mapping[str, str], by_variable: Mapping[str, Field[Any]]
) -> tuple[dict[str, str], list[str]]:
    """Return the variables that are not empty; those that name a file have the content of the file."""
    given: dict[str, str] = {}
    problems: list[str] = []
    for variable, raw in environ.items():
        text = raw.strip()
        if not variable.startswith(PREFIX) or not text or _is_ignored(variable, text):
            continue
        meant = by_variable.get(variable.removesuffix(FILE))
        if variable in by_variable or meant is None or not meant.metadata["secret"]:
            given[variable] = text
        elif environ.get(variable.removesuffix(FILE), "").strip():
            problems.append(f"{variable}: {variable.removesuffix(FILE)} is set as well; give one of them")
        else:
            try:
                given[variable.removesuffix(FILE)] = Path(text).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is no text"
                problems.append(f"{variable}: {text} cannot be read: {reason}")
    return given, problems


def _is_ignored(variable: str, text: str) -> bool:
    """Return whether Kubernetes sets the variable for a Service, or an earlier version had the setting."""
    is_port = variable.endswith("_PORT") and _SERVICE_URL.fullmatch(text)
    return bool(_SERVICE.fullmatch(variable) or is_port or variable in former_names.SETTINGS)
