"""Errors for names that do not exist, with the names that were probably meant."""

from __future__ import annotations

from collections.abc import Callable

from model import namespace, registry, repository
from model.errors import (
    BadInput,
    NoSuchNamespace,
    NoSuchRepository,
    NoSuchTag,
    NothingDeleted,
    RegistryError,
)
from model.names import RepositoryName, TagName, parse_repository
from worker.spelling import did_you_mean, nearest

# Maximum names that are compared.
_NEAR = 1_000


def no_such_namespace(name: str) -> NoSuchNamespace:
    """Return the error for a namespace that does not exist."""
    advice = did_you_mean(_near_namespaces(name), otherwise=": check the spelling")
    return NoSuchNamespace(f"There is no namespace {name}{advice}")


def no_such_repository(name: RepositoryName) -> NoSuchRepository:
    """Return the error for a repository that does not exist."""
    known = repository.names_like(f"{name.namespace}/", limit=_NEAR)
    for near in () if known else _near_namespaces(name.namespace):
        known += repository.names_like(f"{near}/", limit=_NEAR)
    otherwise = ": check the spelling, or see dredge due"
    advice = did_you_mean(nearest(str(name), known), otherwise=otherwise)
    return NoSuchRepository(f"There is no repository {name}{advice}")


def no_such_tag(name: TagName) -> RegistryError:
    """Return the error for a tag that does not exist, or for its repository."""
    where = repository.by_name(*name.repository)
    if where is None:
        return no_such_repository(name.repository)
    known = [tag.name for tag in registry.list_active_tags(where.id, limit=_NEAR).tags]
    advice = did_you_mean(nearest(name.tag, known), otherwise=f": see dredge tag history {name.repository}")
    return NoSuchTag(f"There is no tag {name}{advice}")


def nothing_deleted(error: NothingDeleted) -> NothingDeleted:
    """Return the error for a deletion that cannot be undone because there is none of that name."""
    if "repository" in error.facts:
        kind, known = "repository", [found.path for found in registry.list_deleted_repositories(limit=_NEAR)]
    else:
        kind, known = "namespace", [found.name for found in registry.list_deleted_namespaces(limit=_NEAR)]
    name = str(error.facts[kind])
    advice = did_you_mean(nearest(name, known), otherwise=f": see dredge {kind} list --deleted")
    return NothingDeleted(f"There is no deleted {kind} {name}{advice}")


def with_suggestion(error: RegistryError) -> RegistryError:
    """Return the error with the names that were probably meant, if it is about a name that does not exist."""
    if isinstance(error, NothingDeleted):
        return nothing_deleted(error)
    for name, describe in _ABOUT.items():
        text = error.facts.get(name)
        if isinstance(error, (NoSuchNamespace, NoSuchRepository, NoSuchTag)) and isinstance(text, str):
            try:
                return describe(text, error)
            except BadInput:
                return error
    return error


def _of_a_tag(text: str, error: RegistryError) -> RegistryError:
    return no_such_tag(TagName(parse_repository(str(error.facts["repository"])), text))


# The fact of an error that names what is missing; the narrowest comes first.
_ABOUT: dict[str, Callable[[str, RegistryError], RegistryError]] = {
    "tag": _of_a_tag,
    "repository": lambda text, _: no_such_repository(parse_repository(text)),
    "namespace": lambda text, _: no_such_namespace(text),
}


def _near_namespaces(name: str) -> list[str]:
    """Return similar namespaces; most mistakes keep the first letter, and a registry may have very many."""
    for prefix in (name[:1], ""):
        if near := nearest(name, namespace.names_like(prefix, limit=_NEAR)):
            return near
    return []
