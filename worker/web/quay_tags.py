"""A page of a repository's tags in the form of Quay's API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from itertools import islice

from model import registry
from model.manifest.find import ManifestSize, read_manifest_sizes
from model.registry import Position, Tag

BATCH = 1000
# Maximum lifetimes that are read for one page; pages beyond them are empty.
LOOK = 100_000


@dataclass(frozen=True)
class QuayTag:
    """One lifetime of a tag; times are in seconds since the epoch, and in the format of RFC 2822."""

    name: str
    reversion: bool
    start_ts: int
    end_ts: int | None
    manifest_digest: str
    is_manifest_list: bool
    size: int | None
    last_modified: str
    expiration: str | None
    immutable: bool


@dataclass(frozen=True)
class QuayTagPage:
    """A page, and whether there is a next one."""

    tags: list[QuayTag]
    page: int
    has_additional: bool


def read_page(repository: str, *, name: str | None, page: int, limit: int, only_alive: bool) -> QuayTagPage:
    """Return the page with this number, latest lifetimes first; only reads."""
    start = (page - 1) * limit
    found = list(islice(_lifetimes(repository, name, only_alive), start, start + limit + 1))
    shown = found[:limit]
    sizes = read_manifest_sizes(tag.manifest_id for tag in shown)
    # A collection may have deleted a row between the two statements.
    tags = [_described(tag, sizes[tag.manifest_id]) for tag in shown if tag.manifest_id in sizes]
    return QuayTagPage(tags, page, len(found) > limit)


def _lifetimes(repository: str, name: str | None, only_alive: bool) -> Iterator[Tag]:
    where = registry.get_repository(repository).id
    before: Position | None = None
    for _ in range(LOOK // BATCH):
        part = registry.list_tag_history(where, name=name, before=before, limit=BATCH)
        yield from (each.tag for each in part.lifetimes if not (only_alive and each.restorable))
        before = part.next
        if before is None:
            return


def _described(tag: Tag, size: ManifestSize) -> QuayTag:
    end_s = None if tag.end_ms is None else tag.end_ms // 1000
    return QuayTag(
        name=tag.name,
        reversion=tag.reversion,
        start_ts=tag.start_ms // 1000,
        end_ts=end_s,
        manifest_digest=tag.digest,
        is_manifest_list=size.is_index,
        size=size.bytes,
        last_modified=formatdate(tag.start_ms // 1000),
        expiration=None if end_s is None else formatdate(end_s),
        immutable=tag.immutable,
    )
