"""Repositories as they are named on the command line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from model import repository
from model.db import connection as database
from model.errors import NoSuchRepository, RegistryError
from model.names import RepositoryName, parse_repository
from worker.settings import Settings, SettingsError

_COMPLETIONS = 50
_NEAR = 1_000


class RepositoryType(click.ParamType[str]):
    """`namespace/name`, completed from the database where one is configured."""

    name = "repository"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return at most 50 names that begin so; none without an answer from the database."""
        try:
            settings = Settings.from_env(os.environ)
            if not settings.database_url:
                return []
            database.configure(settings.database_url, application_name="dredge-completion")
            names = repository.names_like(incomplete, limit=_COMPLETIONS)
        except (SettingsError, RegistryError):
            return []
        return [CompletionItem(name) for name in names]


REPOSITORY = RepositoryType()


def find(names: Sequence[str]) -> list[repository.Repository]:
    """Return the repositories of these names; the first wrong one raises `BadInput` or `NoSuchRepository`."""
    return [_one(name) for name in names]


def names_of(ids: Sequence[int]) -> dict[int, str]:
    """`namespace/name` of each repository that exists, by id."""
    return {id: found.path for id, found in repository.by_ids(ids).items()}


def _one(name: str) -> repository.Repository:
    parsed = parse_repository(name)
    found = repository.by_name(parsed.namespace, parsed.name)
    if found is None:
        raise NoSuchRepository(f"There is no repository {parsed}: {_advice(parsed)}")
    return found


def _advice(wanted: RepositoryName) -> str:
    near = repository.names_like(f"{wanted.namespace}/", limit=_NEAR)
    close = difflib.get_close_matches(str(wanted), near, n=2)
    return f"did you mean {' or '.join(close)}?" if close else "check the spelling, or see dredge scan"
