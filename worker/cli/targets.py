"""What an operator's control applies to: the registry, a namespace or a repository."""

from __future__ import annotations

from dataclasses import dataclass

from model import namespace
from model.controls.holds import EVERY
from model.errors import NoSuchNamespace
from worker.cli import repositories


@dataclass(frozen=True)
class Target:
    """Ids are 0 where the control is not limited to one; `name` is for people."""

    name: str = "the whole registry"
    namespace_id: int = EVERY
    repository_id: int = EVERY


def find(text: str | None) -> Target:
    """The target of `namespace/name`, `namespace` or nothing; raises `RegistryError` for a missing one."""
    if text is None:
        return Target()
    if "/" in text:
        return Target(text, repository_id=repositories.find([text])[0].id)
    found = namespace.get(text)
    if found is None:
        raise NoSuchNamespace(f"There is no namespace {text}: check the spelling")
    return Target(text, namespace_id=found.id)
