"""End tags with everything that depends on them, and record the events."""

from __future__ import annotations

from collections.abc import Sequence

from model.events import record as events
from model.registry.operation import Operation
from model.tag import Tag
from model.tag.cosign import find_orphaned_siblings
from model.tag.lifetime import displace_tags, expire_tags
from model.tag.temporary import find_below


def end_tags(
    operation: Operation, tags: Sequence[Tag], *, type: str = events.TAG_DELETED, end_ms: int | None = None
) -> tuple[Tag, ...]:
    """End these locked rows now (or at `end_ms`) and all that depends on them.  Returns the ended rows.

    Ends the rows, then the temporary tags of their manifests' children, then the Cosign siblings whose
    subject has lost its last tag, and the siblings of these.  Records one event for each visible tag.
    """
    now_ms = operation.now_ms
    wanted = now_ms if end_ms is None else end_ms
    ended = expire_tags(tags, end_ms=wanted, now_ms=now_ms)
    for tag in ended:
        operation.record(type, tag)
    if ended and operation.policy.reset_child_manifest_expiration:
        reset_children(ended, end_ms=now_ms, after_ms=now_ms)
    end_siblings(operation, ended)
    return ended


def end_siblings(operation: Operation, subjects: Sequence[Tag]) -> None:
    """End the Cosign siblings of the manifests that these tags, just ended or moved, pointed to."""
    for subject in {tag.manifest_id: tag for tag in subjects if not tag.hidden}.values():
        siblings = find_orphaned_siblings(
            subject, now_ms=operation.now_ms, keep_immutable=operation.policy.immutable_tags
        )
        if siblings:
            end_tags(operation, siblings)


def reset_children(tags: Sequence[Tag], *, end_ms: int, after_ms: int) -> tuple[Tag, ...]:
    """End the temporary tags of the children of these tags' manifests that end after `after_ms`.

    A deleted index no longer needs its children, so their temporary tags end.  Another index or tag that
    uses a child still holds it.  A temporary tag that began after the tags of its own index stays: it
    belongs to another push, which sends its index later.
    """
    begun_by_ms: dict[int, int] = {}
    for tag in tags:
        begun_by_ms[tag.manifest_id] = max(tag.start_ms, begun_by_ms.get(tag.manifest_id, tag.start_ms))
    return displace_tags(find_below(begun_by_ms, after_ms=after_ms), end_ms=end_ms)
