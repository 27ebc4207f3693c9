"""Change the expiry and the immutability of a tag."""

from __future__ import annotations

from model.errors import BadInput, FeatureDisabled
from model.events import record as events
from model.policy import DEFAULT, HOUR_MS, WEEK_MS, Policy
from model.registry.arguments import RepositoryRef, checked_flag, checked_name, checked_time
from model.registry.operation import Operation, in_repository
from model.tag import Tag
from model.tag.lifetime import set_end, set_immutable
from model.tag.rows import find_alive

SHORTEST_LIFE_MS = HOUR_MS
LONGEST_LIFE_MS = 104 * WEEK_MS


def change_tag_expiration(
    repository: RepositoryRef, name: str, expires_ms: int | None, *, policy: Policy = DEFAULT
) -> Tag | None:
    """Set the end of the alive tag of that name: at least an hour and at most 104 weeks after its begin;
    None means no end.

    Records `tag.expiry_changed`.  Returns None if there is no such tag.  Raises `ImmutableTag`, and
    `BadInput` if the end would be in the past (to end a tag, delete it).  Idempotent.
    """
    checked_name(name)
    checked_time(expires_ms)

    def work(operation: Operation) -> Tag | None:
        alive = find_alive(operation.repository.id, name, now_ms=operation.now_ms, lock=True)
        if not alive:
            return None
        operation.refuse_immutable(*alive)
        tag = alive[0]
        end_ms = None if expires_ms is None else clamp_end(tag.start_ms, expires_ms)
        if end_ms is not None and end_ms <= operation.now_ms:
            raise BadInput(
                "The tag is too old for this expiry, and would end in the past: delete it instead",
                expires_ms=end_ms,
            )
        if end_ms == tag.end_ms:
            return tag
        changed = set_end(tag, end_ms)
        operation.record(events.TAG_EXPIRY_CHANGED, changed)
        return changed

    return in_repository(repository, policy, work)


def clamp_end(start_ms: int, end_ms: int) -> int:
    """Return the nearest end that gives a tag a lifetime of 1 hour to 104 weeks."""
    return min(max(end_ms, start_ms + SHORTEST_LIFE_MS), start_ms + LONGEST_LIFE_MS)


def set_tag_immutable(
    repository: RepositoryRef, name: str, immutable: bool = True, *, policy: Policy = DEFAULT
) -> Tag | None:
    """Make the alive tag of that name immutable (it cannot be moved, expired or deleted), or mutable again.

    Returns None if there is no such tag.  Raises `FeatureDisabled` if the policy has no immutable tags,
    or if the tag has an expiry and immutable tags may not have one.  Idempotent.
    """
    checked_name(name)
    checked_flag(immutable, "immutable")
    if not policy.immutable_tags:
        raise FeatureDisabled("Immutable tags are switched off: DREDGE_IMMUTABLE_TAGS")

    def work(operation: Operation) -> Tag | None:
        alive = find_alive(operation.repository.id, name, now_ms=operation.now_ms, lock=True)
        if not alive:
            return None
        tag = alive[0]
        if immutable and tag.end_ms is not None and not policy.immutable_tags_can_expire:
            raise FeatureDisabled(
                "A tag with an expiry cannot become immutable: remove its expiry first,"
                " or set DREDGE_IMMUTABLE_TAGS_CAN_EXPIRE",
                repository=operation.repository.path,
                tag=name,
            )
        return tag if tag.immutable == immutable else set_immutable(tag, immutable)

    return in_repository(repository, policy, work)
