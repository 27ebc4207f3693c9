"""Tag operations that other services request by name: check the names, call the façade, answer in JSON."""

from __future__ import annotations

from typing import Any

from model import registry
from model.errors import BadInput
from model.names import parse_repository
from model.registry.cached import CachedLookups
from model.tag import Tag
from worker.jobs.context import JobContext


def delete_tag(context: JobContext, namespace: str, repository: str, tag: str) -> dict[str, Any] | None:
    """Delete a tag.  It can be restored until its recovery window closes.  None if there is no such tag."""
    name = full_name(namespace, repository)
    with CachedLookups(context.cache).changing_tags(name):
        ended = registry.delete_tag(name, tag, policy=context.policy)
    return described(ended) if ended else None


def delete_tag_permanently(
    context: JobContext,
    namespace: str,
    repository: str,
    tag: str,
    digest: str,
    *,
    is_alive: bool,
    include_submanifests: bool,
) -> list[dict[str, Any]]:
    """Make a tag's past lifetimes on one manifest unrestorable; with `is_alive`, delete the tag, too."""
    name = full_name(namespace, repository)
    with CachedLookups(context.cache).changing_tags(name):
        gone = registry.delete_tag_permanently(
            name,
            tag,
            digest,
            is_alive=is_alive,
            include_submanifests=include_submanifests,
            policy=context.policy,
        )
    return [described(each) for each in gone]


def restore_tag(
    context: JobContext, namespace: str, repository: str, tag: str, digest: str
) -> dict[str, Any]:
    """Point a tag at a manifest again to which it pointed within the recovery window."""
    name = full_name(namespace, repository)
    with CachedLookups(context.cache).changing_tags(name):
        return described(registry.restore_tag(name, tag, digest, policy=context.policy))


def full_name(namespace: object, repository: object) -> str:
    """Return `namespace/repository`; the namespace has no slash.  Raises `BadInput`."""
    if not isinstance(namespace, str) or not isinstance(repository, str):
        raise BadInput("A namespace and a repository are given by their names, two texts")
    if parse_repository(f"{namespace}/{repository}").namespace != namespace:
        raise BadInput("A namespace's name has no slash", namespace=namespace[:80])
    return f"{namespace}/{repository}"


def described(tag: Tag) -> dict[str, Any]:
    """Describe a tag for a caller, with the keys that the events use."""
    return {
        "repository_id": tag.repository_id,
        "tag": tag.name,
        "digest": tag.digest,
        "started_ms": tag.start_ms,
        "ended_ms": tag.end_ms,
    }
