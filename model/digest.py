"""Parse content digests, and verify content against a digest while it is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from model.errors import BadDigest

_FORMS = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}


def checked(digest: object) -> str:
    """Return `digest`.  Raises `BadDigest` unless it is a sha256 or sha512 digest in canonical form."""
    if isinstance(digest, str):
        algorithm, _, value = digest.partition(":")
        if algorithm in _FORMS and _FORMS[algorithm].fullmatch(value):
            return digest
    raise BadDigest("This is not a sha256 or sha512 digest", digest=repr(digest)[:100])


def of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `content`."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def verified(chunks: Iterable[bytes], digest: str, size: int | None = None) -> Iterator[bytes]:
    """Yield the chunks unchanged.  Raises `BadDigest` at the end, or as soon as there are too many bytes.

    The caller must not trust the content until the iterator has ended without an error.
    """
    hasher = hashlib.new(checked(digest).partition(":")[0])
    passed = 0
    for chunk in chunks:
        hasher.update(chunk)
        passed += len(chunk)
        if size is not None and passed > size:
            raise BadDigest("There are more bytes than announced", digest=digest, size=size)
        yield chunk
    if size is not None and passed != size:
        raise BadDigest("There are fewer bytes than announced", digest=digest, size=size, got=passed)
    if hasher.hexdigest() != digest.partition(":")[2]:
        raise BadDigest(digest=digest, got=hasher.hexdigest())
