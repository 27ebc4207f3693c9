"""Repositories that are named on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from model import repository
from model.db import connection as database
from model.errors import RegistryError
from worker.jobs.targets import find_named
from worker.settings import Settings, SettingsError

_COMPLETIONS = 50


class RepositoryType(click.ParamType[str]):
    """`namespace/name`, completed from the database if one is configured."""

    name = "repository"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return at most 50 names with this beginning, or none if the database does not answer."""
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
    """Return the repositories with these names.  Raises `BadInput` or `NoSuchRepository`."""
    return [find_named(name) for name in names]


def names_of(ids: Sequence[int]) -> dict[int, str]:
    """Map the ID of each repository that exists to `namespace/name`."""
    return {id: found.path for id, found in repository.by_ids(ids).items()}
