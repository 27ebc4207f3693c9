"""Put objects of the trash back on an operator's request, if a row references them."""

from __future__ import annotations

from dataclasses import dataclass

from model.blob import begin_push, finish_push
from model.db.clock import now_ms
from model.errors import RegistryError
from model.gc.quarantine import Quarantined, find_quarantined
from worker.jobs.context import JobContext
from worker.jobs.quarantine import put_back_now
from worker.jobs.storage_identity import verify_location
from worker.storage.base import StoreUnavailable


class NotInTrash(RegistryError):
    """The trash has no object of this digest: push its image again."""


@dataclass(frozen=True)
class Undeleted:
    """An object of the trash.  It was put back, or nothing references it and it stays until `purge_ms`."""

    digest: str
    location: str
    is_back: bool
    purge_ms: int


def undelete(context: JobContext, digest: str, *, repository_id: int | None) -> list[Undeleted]:
    """Put back the digest's objects if a blob row references them.  One result per object.

    With a repository, first writes a row that references the digest and keeps it for the repository, as a
    push does.  Idempotent.  Raises `NotInTrash`, `DigestBusy`, or `StoreUnavailable` if a location is
    suspended.
    """
    found = find_quarantined(digest)
    if not found:
        raise NotInTrash(digest=digest)
    for location in {each.location for each in found}:
        if problem := verify_location(context.stores, location):
            raise StoreUnavailable(f"{location} is suspended: {problem}")
    if repository_id is not None:
        _hold(context, repository_id, found[0])
    for location in {each.location for each in found}:
        put_back_now(context, digest, location)
    return [_result(context, digest, each) for each in found]


def _hold(context: JobContext, repository_id: int, wanted: Quarantined) -> None:
    """Follow the protocol of a push, with the bytes from the trash: row, then object, then placement."""
    push = begin_push(
        repository_id,
        str(wanted.digest),
        wanted.size,
        location=wanted.location,
        policy=context.policy,
        now_ms=now_ms(),
    )
    put_back_now(context, push.digest, wanted.location)
    size = context.stores[push.location].size(push.path)
    if size is None:
        raise StoreUnavailable(
            "The object cannot be put back: see `dredge explain`", location=wanted.location
        )
    finish_push(push, size, policy=context.policy, now_ms=now_ms())


def _result(context: JobContext, digest: str, was: Quarantined) -> Undeleted:
    still = {each.id for each in find_quarantined(digest)}
    is_back = was.id not in still and context.stores[was.location].size(was.path) is not None
    return Undeleted(digest, was.location, is_back, was.purge_ms)
