"""Push a verified OCI image layout into a repository."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from model import namespace as namespaces
from model import registry
from model import repository as repositories
from model.blob import Push, release_pushes
from model.cache import invalidation
from model.cache.keys import CacheKey
from model.db.clock import now_ms
from model.db.connection import connection, transaction
from model.errors import Contended, DigestBusy, NoSuchBlob
from model.manifest import Created, create_manifest
from model.names import RepositoryName, parse_tag
from model.oci import Document
from model.policy import Policy
from model.registry.limits import clamp_end
from model.retention.duration import parse_age_ms
from model.tag.lock import lock_repository_tags
from model.tag.rows import find_alive
from worker.storage.base import Stores
from worker.transfer.layout import Advance, Layout
from worker.transfer.push import store_blob

T = TypeVar("T")
_TRIES = 8
_PUSHES = 3
EXPIRES_AFTER = "quay.expires-after"


@dataclass(frozen=True)
class Imported:
    """The result of an import; `new_manifests` were not in the repository before."""

    repository: str
    tags: tuple[str, ...]
    manifests: int
    new_manifests: int
    blobs: int
    bytes: int
    untagged: int
    skipped: int


def import_layout(
    stores: Stores,
    layout: Layout,
    name: RepositoryName,
    *,
    policy: Policy,
    tags: dict[str, str] | None = None,
    advance: Advance = lambda _bytes: None,
) -> Imported:
    """Push a layout that `read_layout` verified, children before indexes, and tag it.

    `tags` replaces the names in the layout.  A tag ends when the image's label `quay.expires-after` says.
    Creates a missing namespace or repository.  Each manifest is one transaction after its blobs.  Idempotent;
    a crash leaves holds that expire.
    """
    tags = dict(layout.tags) if tags is None else tags
    with connection():
        owner = namespaces.ensure(name.namespace)
        repository = repositories.ensure(owner.id, name.name)
        task = _Import(stores, layout, repository.id, policy, tags, advance)
        try:
            created = [task.push(document) for document in layout.documents]
        finally:
            release_pushes(task.held.values(), now_ms=now_ms())
    return Imported(
        repository=str(name),
        tags=tuple(sorted(tags)),
        manifests=len(created),
        new_manifests=sum(made.new for made in created),
        blobs=len(task.held),
        bytes=sum(layout.blobs[digest] for digest in task.held),
        untagged=len(
            {document.digest for document in layout.documents if document.subject is None}
            & layout.top - set(tags.values())
        ),
        skipped=layout.skipped,
    )


def stale_after_import(layout: Layout, name: RepositoryName) -> list[CacheKey]:
    """Return the keys of cache entries that an import of the layout makes stale; only reads."""
    with connection():
        repository = repositories.by_name(name.namespace, name.name)
    if repository is None:
        return []
    stale = list(invalidation.after_repository_change(name.namespace, name.name, repository.id))
    for document in layout.documents:
        stale += invalidation.after_manifest_created(
            name.namespace,
            name.name,
            repository.id,
            document.digest,
            document.subject.digest if document.subject else None,
            list(document.blobs),
        )
    return stale


def checked_tag(name: str) -> str:
    """Return a requested tag's name.  Raises `BadInput` if it is not valid."""
    return parse_tag(f"any/any:{name}").tag


class _Import:
    """A running import, and the blobs that it holds."""

    def __init__(
        self,
        stores: Stores,
        layout: Layout,
        repository_id: int,
        policy: Policy,
        tags: dict[str, str],
        advance: Advance,
    ) -> None:
        self.held: dict[str, Push] = {}
        self._stores, self._layout, self._repository_id = stores, layout, repository_id
        self._policy, self._tags, self._advance = policy, tags, advance

    def push(self, document: Document) -> Created:
        """Push blobs, manifest and tags; repeat if a hold on a blob expired before the manifest came."""
        for left in reversed(range(_PUSHES)):
            for digest in document.blobs:
                if digest not in self.held:
                    self.held[digest] = self._store(digest)
            try:
                return patiently(lambda: self._create(document))
            except NoSuchBlob as error:
                if not left:
                    raise
                self.held.pop(str(error.facts.get("digest")), None)
        raise AssertionError("unreachable")

    def _store(self, digest: str) -> Push:
        return patiently(
            lambda: store_blob(
                self._stores,
                self._repository_id,
                digest,
                lambda: _noted(self._layout.read(digest), self._advance),
                size=self._layout.blobs[digest],
                policy=self._policy,
            )
        )

    def _create(self, document: Document) -> Created:
        names = [tag for tag, digest in self._tags.items() if digest == document.digest]
        with transaction():
            moment = lock_repository_tags(self._repository_id)
            created = create_manifest(
                self._repository_id,
                document,
                labels=self._layout.labels[document.digest],
                policy=self._policy,
                now_ms=moment,
                allow_missing_children=True,
                protect=not names,
            )
            lifetime_ms = lifetime_of(self._layout.labels[document.digest])
            for tag in names:
                alive = find_alive(self._repository_id, tag, now_ms=moment)
                ends = bool(alive and alive[0].end_ms is not None)
                if not alive or alive[0].manifest_id != created.manifest_id or (ends and not lifetime_ms):
                    registry.retarget_tag(
                        self._repository_id,
                        tag,
                        created.manifest_id,
                        expires_ms=clamp_end(moment, moment + lifetime_ms) if lifetime_ms else None,
                        policy=self._policy,
                    )
        return created


def lifetime_of(labels: Mapping[str, str]) -> int:
    """Return the lifetime that an image's labels ask for, in milliseconds or 0, as Quay reads it."""
    try:
        return parse_age_ms(labels[EXPIRES_AFTER])
    except (KeyError, ValueError):
        return 0


def patiently(work: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Call `work`, and repeat it a few times while another transaction or an eraser blocks it."""
    for attempt in range(_TRIES):
        try:
            return work()
        except (Contended, DigestBusy):
            sleep(min(10.0, 0.05 * 3**attempt))
    return work()


def _noted(chunks: Iterable[bytes], advance: Advance) -> Iterable[bytes]:
    for chunk in chunks:
        advance(len(chunk))
        yield chunk
