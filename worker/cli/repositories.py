"""Repositories as they are named on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from model import repository
from model.errors import NoSuchRepository
from model.names import parse_repository


def find(names: Sequence[str]) -> list[repository.Repository]:
    """The repositories of these names; raises `BadInput` or `NoSuchRepository` for the first wrong one."""
    return [_one(name) for name in names]


def _one(name: str) -> repository.Repository:
    parsed = parse_repository(name)
    found = repository.by_name(parsed.namespace, parsed.name)
    if found is None:
        raise NoSuchRepository(f"There is no repository {parsed}: see dredge scan, or check the spelling")
    return found
