"""Store a blob: first its reference in the database, then its bytes, then mark it as ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from model import digest as digests
from model.blob import Push, begin_push, extend_push, finish_push, release_pushes
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import BadDigest, BlobGone, Contended
from model.policy import Policy
from worker.storage.base import Stores

Source = Callable[[], Iterable[bytes]]
_TRIES = 3
# Bytes after which a push renews its hold; 2 KiB/s are enough for the default hold of one hour.
_RENEW_EVERY = 8 << 20


def store_blob(
    stores: Stores,
    repository_id: int,
    digest: str,
    source: Source,
    *,
    size: int | None = None,
    policy: Policy,
    location: str | None = None,
) -> Push:
    """Store a blob in a repository; it becomes ready after its bytes are verified by the digest.

    Calls `source` for the bytes, and again if they must be written again.  Raises `BadDigest` and stores
    nothing; after `DigestBusy`, `BlobGone` and `StoreUnavailable` the caller may retry.  A blob that exists
    already is verified and held, not written.  A crash leaves a marker that expires.  Idempotent.
    """
    for _ in range(_TRIES):
        push = begin_push(
            repository_id,
            digest,
            size,
            location=location or stores.upload,
            policy=policy,
            now_ms=now_ms(),
        )
        try:
            stored = _ensure_object(stores, push, source, size, policy)
            finish_push(push, stored, policy=policy, now_ms=now_ms())
            return push
        except BlobGone:
            continue  # The push took longer than its marker lasts, and the blob was collected: begin again.
        except BadDigest:
            release_pushes([push], now_ms=now_ms())
            raise
    raise Contended("The blob was collected several times while it was pushed", digest=digest)


def _ensure_object(stores: Stores, push: Push, source: Source, size: int | None, policy: Policy) -> int:
    """Write the object unless it exists, after the reference is committed.  Returns its size.

    An object of the right size at a digest's path has the right bytes: nothing else is ever written there.
    """
    store = stores[push.location]
    chunks = digests.verified(source(), push.digest, size)
    present = store.size(push.path)
    if present is not None and present == (push.size if push.known else size):
        passed = sum(len(chunk) for chunk in chunks)
        if passed != present:
            raise BadDigest("The stored object has another size", digest=push.digest, stored=present)
        return present
    return store.write(push.path, _renewing(chunks, push, policy))


def _renewing(chunks: Iterable[bytes], push: Push, policy: Policy) -> Iterator[bytes]:
    since = 0
    for chunk in chunks:
        since += len(chunk)
        if since >= _RENEW_EVERY:
            since = 0
            with connection():
                extend_push(push, policy=policy, now_ms=now_ms())
        yield chunk
