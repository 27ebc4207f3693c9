"""Resumable uploads: store chunks, and join them into a blob."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from model import digest as digests
from model.blob import Push
from model.db.clock import now_ms
from model.errors import Contended, NoSuchUpload
from model.policy import Policy
from model.upload import Upload, end_upload, note_chunk, reserve_chunk
from worker.storage.base import NoSuchObject, Stores
from worker.transfer.push import store_blob


def append(stores: Stores, upload: Upload, chunks: Iterable[bytes]) -> Upload:
    """Store the bytes as the upload's next chunk, then record it.  Returns the updated upload.

    A crash in between leaves a chunk that is removed with the upload.  Of two concurrent requests, each with
    a path of its own, one succeeds and the other raises `Contended`.  Raises the errors of `note_chunk`.
    """
    store, path = stores[upload.location], reserve_chunk(upload)
    size = store.write(path, chunks)
    try:
        return note_chunk(upload, path, size)
    except (NoSuchUpload, Contended):
        # Safe: the path was reserved for this request, and no row references it.
        store.erase([path])
        raise


def finish(stores: Stores, upload: Upload, digest: str, *, policy: Policy) -> Push:
    """Join the upload's chunks into a blob and close the upload.

    Raises `BadDigest`; the upload then stays open.  Verifies all bytes before the repository holds a blob of
    the digest, so that a client cannot get a blob by knowing only its digest.  Idempotent.
    """
    for _ in digests.verified(_content(stores, upload), digest, upload.size):
        pass
    push = store_blob(
        stores,
        upload.repository_id,
        digest,
        lambda: _content(stores, upload),
        size=upload.size,
        policy=policy,
    )
    end_upload(upload, now_ms=now_ms())
    return push


def _content(stores: Stores, upload: Upload) -> Iterator[bytes]:
    for path in upload.paths:
        try:
            yield from stores[upload.location].read(path)
        except NoSuchObject as error:
            raise NoSuchUpload("The upload was collected", upload=upload.uuid) from error
