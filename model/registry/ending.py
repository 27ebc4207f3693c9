"""What happens when tags end: their rows, what was noted about them, what depended on them, the events."""

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
    """End these locked rows now (or at `end_ms`) with everything that hangs on them; the ended rows.

    The rows first, then the temporary tags of their manifests' children, then Cosign siblings that
    have lost their subject's last tag, and theirs.  One event for each tag that ended by name.
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
    """End the Cosign siblings of the manifests that these tags, just ended or moved away, pointed at."""
    for subject in {tag.manifest_id: tag for tag in subjects if not tag.hidden}.values():
        siblings = find_orphaned_siblings(
            subject, now_ms=operation.now_ms, keep_immutable=operation.policy.immutable_tags
        )
        if siblings:
            end_tags(operation, siblings)


def reset_children(tags: Sequence[Tag], *, end_ms: int, after_ms: int) -> tuple[Tag, ...]:
    """End the temporary tags below these tags' manifests that run beyond `after_ms`.

    An index that is gone needs its children no longer, so nothing else should hold them either;
    a child that another index or a tag uses is held by that.  One that began after the tags is
    of another push, whose own index has yet to come: it stays.
    """
    begun_by_ms = max(tag.start_ms for tag in tags)
    below = find_below({tag.manifest_id for tag in tags}, begun_by_ms=begun_by_ms, after_ms=after_ms)
    return displace_tags(below, end_ms=end_ms)
