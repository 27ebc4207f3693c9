"""The target that an operator names: the whole registry, a namespace or a repository."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from model import namespace, repository
from model.controls.holds import EVERY
from model.errors import NoSuchNamespace, NoSuchRepository
from model.names import RepositoryName, parse_namespace, parse_repository
from model.repository import Repository

_NEAR = 1_000


@dataclass(frozen=True)
class Target:
    """A target.  An ID is 0 if the target is not limited to one namespace or repository."""

    name: str = "the whole registry"
    namespace_id: int = EVERY
    repository_id: int = EVERY


def find_target(text: str | None) -> Target:
    """Return the target of `namespace/name`, `namespace` or None.  Raises `BadInput`, or "no such …"."""
    if text is None:
        return Target()
    if "/" in text:
        return Target(text, repository_id=find_named(text).id)
    found = namespace.get(parse_namespace(text))
    if found is None:
        raise NoSuchNamespace(f"There is no namespace {text}: check the spelling")
    return Target(text, namespace_id=found.id)


def find_named(name: str) -> Repository:
    """Find the repository `namespace/name`.  Raises `BadInput`, or `NoSuchRepository` with similar names."""
    parsed = parse_repository(name)
    found = repository.by_name(parsed.namespace, parsed.name)
    if found is None:
        raise NoSuchRepository(f"There is no repository {parsed}: {_advice(parsed)}")
    return found


def _advice(wanted: RepositoryName) -> str:
    near = repository.names_like(f"{wanted.namespace}/", limit=_NEAR)
    close = difflib.get_close_matches(str(wanted), near, n=2)
    return f"did you mean {' or '.join(close)}?" if close else "check the spelling, or see dredge due"
