"""Resumable uploads: chunks into storage, and the whole of them into a blob."""

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
    """Store the bytes as the upload's next chunk, then note it; the upload as it is after that.

    A crash in between leaves a chunk that goes with the upload.  Of two requests at once one is accepted,
    and the other raises `Contended`: each has a path of its own.  Raises what `note_chunk` raises.
    """
    store, path = stores[upload.location], reserve_chunk(upload)
    size = store.write(path, chunks)
    try:
        return note_chunk(upload, path, size)
    except (NoSuchUpload, Contended):
        # Safe: the path was reserved for this request, and nothing names it.
        store.erase([path])
        raise


def finish(stores: Stores, upload: Upload, digest: str, *, policy: Policy) -> Push:
    """Make a blob of the upload's chunks and close it; raises `BadDigest`, the upload stays open then.

    All bytes are held against the digest before the repository gets any hold on a blob of that
    digest: who only knows a digest learns nothing.  Repeating it after a crash is safe.
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
