"""Blobs: layers, configs and signatures, each with a row, a placement and perhaps an object."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from model.db.bulk_load import Loader, find_empty_layer, take_ids
from worker.local.sample.shape import Dice, Shape

EMPTY_LAYER = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
EMPTY_LAYER_UNPACKED = 1_024
EMPTY_CONFIG = b"{}"
_MB = 1_000_000
_SMALL = 65_536
_LARGEST = 10_000 * _MB

WriteObject = Callable[[str, bytes], None]


class Piece(NamedTuple):
    """A blob's digest and size, as manifests reference it."""

    id: int
    digest: str
    size: int


def sha256(content: bytes) -> str:
    """Return the digest of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _unpacked(kind: str, size: int) -> int | None:
    """The uncompressed size, which only layers have."""
    return size * 5 // 2 if kind == "layer" else None


class Content:
    """Makes blobs of one sample; each call adds rows to the loader."""

    def __init__(
        self, shape: Shape, dice: Dice, loader: Loader, location_id: int, write: WriteObject | None
    ) -> None:
        self._shape, self._dice, self._loader = shape, dice, loader
        self._location_id = location_id
        self._write = write if shape.objects == "small" else None
        self._ids = take_ids("imagestorage")
        self._made = 0
        self._shared: dict[bytes, Piece] = {}

    def layer(self) -> Piece:
        """Make a layer, with a median of 4 MB and a 90th percentile of 63 MB."""
        return self._make(self._dice.lognormal(4 * _MB, 63 * _MB), "layer")

    def config(self) -> Piece:
        """Make an image configuration of some kilobytes."""
        return self._make(self._dice.lognormal(4_000, 12_000), "config")

    def signature(self) -> Piece:
        """Make a signature or attestation."""
        return self._make(self._dice.lognormal(250, 60_000), "signature")

    def empty_layer(self) -> Piece:
        """Return the empty gzipped layer, which half of all images contain."""
        return self._known(EMPTY_LAYER)

    def empty_config(self) -> Piece:
        """Return the two-byte blob that artifacts without a configuration reference."""
        return self._known(EMPTY_CONFIG)

    def _known(self, content: bytes) -> Piece:
        if content not in self._shared:
            digest, size = sha256(content), len(content)
            held = find_empty_layer(digest)
            if held is None:
                unpacked = EMPTY_LAYER_UNPACKED if content == EMPTY_LAYER else None
                self._shared[content] = self._row(digest, size, unpacked)
                self._store(digest, content)
            else:
                self._shared[content] = Piece(held, digest, size)
        return self._shared[content]

    def _make(self, nominal: float, kind: str) -> Piece:
        size = min(max(int(nominal), 32), _LARGEST)
        self._made += 1
        name = f"{self._shape.prefix}{kind}-{self._made}"
        if self._write is None:
            return self._row(sha256(name.encode()), size, _unpacked(kind, size))
        content = self._bytes(name, kind, size // _SMALL)
        digest = sha256(content)
        self._store(digest, content)
        return self._row(digest, len(content), _unpacked(kind, len(content)))

    @staticmethod
    def _bytes(name: str, kind: str, size: int) -> bytes:
        if kind == "config":
            return f'{{"architecture":"amd64","os":"linux","comment":"{name}"}}'.encode()
        return f"{name}\n".encode().ljust(size, b".")

    def _row(self, digest: str, size: int, unpacked: int | None) -> Piece:
        piece = Piece(next(self._ids), digest, size)
        rows = self._loader.rows
        # As a Quay writes them: it never clears `uploading`, and knows what a gzipped layer unpacks to.
        rows["imagestorage"].append((piece.id, self._dice.name(), size, unpacked, True, True, digest))
        rows["imagestorageplacement"].append((piece.id, self._location_id))
        return piece

    def _store(self, digest: str, content: bytes) -> None:
        if self._write is not None:
            algorithm, _, digits = digest.partition(":")
            self._write(f"{algorithm}/{digits[:2]}/{digits}", content)
