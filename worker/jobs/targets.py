"""The target that an operator names: the whole registry, a namespace or a repository."""

from __future__ import annotations

from dataclasses import dataclass

from model import namespace, repository
from model.controls.holds import EVERY
from model.names import parse_namespace, parse_repository
from model.repository import Repository
from worker.jobs.similar import no_such_namespace, no_such_repository


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
        raise no_such_namespace(text)
    return Target(text, namespace_id=found.id)


def find_named(name: str) -> Repository:
    """Find the repository `namespace/name`.  Raises `BadInput`, or `NoSuchRepository` with similar names."""
    parsed = parse_repository(name)
    found = repository.by_name(parsed.namespace, parsed.name)
    if found is None:
        raise no_such_repository(parsed)
    return found
