"""An imitation of an unmodified Quay: object first, then rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from random import Random

import peewee

from model import digest as digests
from model.db.connection import fetch
from model.storage_paths import object_path
from tests.soak.images import Image
from tests.support.quay_writer import link_blob, tag_manifest
from worker.storage.base import Stores

# Between the look for the object and the commit of its row.
LONGEST_S = 0.5
MARKED_S = 5


class RowVanished(Exception):
    """A row that it had found was collected before it referred to it; its client gets an error."""


def push(stores: Stores, repository: int, made: Image, tag: str, dice: Random) -> None:
    """Push an image: each blob's object, later its row; then the manifest and the tag.

    Where the object is there, its own upload is dropped at once.  Raises `RowVanished`.
    """
    store, blobs = stores[stores.upload], []
    for digest, content in made.blobs.items():
        path = object_path(digest, True, "")
        if store.size(path) is None:
            store.write(path, [content])
        time.sleep(dice.uniform(0, LONGEST_S))
        with _vanishing():
            blobs.append(link_blob(repository, digest, len(content), MARKED_S))
    with _vanishing():
        tag_manifest(repository, blobs, digests.of(made.manifest), made.manifest.decode(), tag)


def forget_strays(stores: Stores, digest_lists: Iterable[Iterable[str]]) -> int:
    """Remove objects that its failed pushes have left, where no row knows them; how many.

    Dredge's sweep does it when they are older than the longest push, which a soak does not wait for.
    """
    store, paths = stores[stores.upload], {}
    for digest in {digest for digests_of_push in digest_lists for digest in digests_of_push}:
        paths[digest] = object_path(digest, True, "")
    known = {row.digest for row in fetch(_KNOWN, {"digests": list(paths)})} if paths else set()
    strays = [path for digest, path in paths.items() if digest not in known and store.size(path) is not None]
    store.erase(strays)
    return len(strays)


_KNOWN = "SELECT content_checksum AS digest FROM imagestorage WHERE content_checksum = ANY(%(digests)s)"


@contextmanager
def _vanishing() -> Iterator[None]:
    try:
        yield
    except peewee.IntegrityError as error:
        raise RowVanished(str(error)) from error
