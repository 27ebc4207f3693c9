"""Real images made of numbers: the same numbers give the same bytes, so digests die and are pushed again."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model import digest as digests
from model import registry
from model.blob import Push, release_pushes
from model.db.clock import now_ms
from model.db.connection import transaction
from model.errors import NoSuchBlob
from model.manifest import create_manifest
from model.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from model.policy import Policy
from model.tag.lock import lock_repository_tags
from worker.storage.base import NoSuchObject, Stores
from worker.transfer.layout_import import patiently
from worker.transfer.push import store_blob

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_PUSHES = 3


class Lost(AssertionError):
    """Something that is in use is not there, or not what it should be."""


@dataclass(frozen=True)
class Image:
    """A manifest's bytes and those of its blobs by digest; of an index, its children too."""

    manifest: bytes
    blobs: Mapping[str, bytes]
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        return digests.of(self.manifest)


def layer(number: int) -> bytes:
    """The layer of that number: 1 to 40 KiB of noise."""
    noise = random.Random(f"layer {number}")
    return noise.randbytes(noise.randrange(1 << 10, 40 << 10))


def image(layers: Sequence[int], *, name: str = "", subject: Image | None = None) -> Image:
    """An image of these layers, with a config of its own; a signature-shaped one with a subject."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "name": name}).encode()
    contents = [layer(number) for number in layers]
    fields: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(config, OCI_CONFIG),
        "layers": [_descriptor(content, LAYER) for content in contents],
    }
    if subject is not None:
        fields |= {
            "artifactType": "application/x.soak",
            "subject": _descriptor(subject.manifest, OCI_MANIFEST),
        }
    blobs = {digests.of(content): content for content in (config, *contents)}
    return Image(json.dumps(fields).encode(), blobs)


def index(images: Sequence[Image]) -> Image:
    """An index of these images."""
    listed = [_descriptor(each.manifest, OCI_MANIFEST) for each in images]
    fields = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    return Image(json.dumps(fields).encode(), {}, tuple(images))


def _descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digests.of(content), "size": len(content)}


@dataclass
class Pusher:
    """Pushes images as a registry's front end does: blobs, then the manifest, then the tag."""

    stores: Stores
    policy: Policy

    def push(
        self, repository_id: int, made: Image, tag: str | None, *, at_once: bool = True
    ) -> registry.Tag | None:
        """All of it; the tag in the manifest's transaction, or after it.  None without a tag."""
        for child in made.children:
            self.push(repository_id, child, None)
        held: dict[str, Push] = {}
        try:
            return self._with_blobs(repository_id, made, held, tag, at_once)
        finally:
            if held:
                release_pushes(held.values(), now_ms=now_ms())

    def _with_blobs(
        self, repository_id: int, made: Image, held: dict[str, Push], tag: str | None, at_once: bool
    ) -> registry.Tag | None:
        for left in reversed(range(_PUSHES)):
            for digest, content in made.blobs.items():
                if digest not in held:
                    held[digest] = self.blob(repository_id, digest, content)
            try:
                return self._finish(repository_id, made, tag, at_once)
            except NoSuchBlob as error:  # a hold may run out when everything stands still
                if not left:
                    raise
                held.pop(str(error.facts.get("digest")), None)
        raise AssertionError("unreachable")

    def blob(self, repository_id: int, digest: str, content: bytes) -> Push:
        """One blob, patiently."""
        return patiently(
            lambda: store_blob(
                self.stores, repository_id, digest, lambda: [content], size=len(content), policy=self.policy
            )
        )

    def _finish(self, repository_id: int, made: Image, tag: str | None, at_once: bool) -> registry.Tag | None:
        if tag is not None and at_once:
            return patiently(lambda: self._create_and_tag(repository_id, made, tag))
        patiently(lambda: self._create(repository_id, made))
        if tag is None:
            return None
        return patiently(lambda: registry.retarget_tag(repository_id, tag, made.digest, policy=self.policy))

    def _create(self, repository_id: int, made: Image) -> None:
        create_manifest(repository_id, made.manifest, policy=self.policy, now_ms=now_ms())

    def _create_and_tag(self, repository_id: int, made: Image, tag: str) -> registry.Tag:
        with transaction():
            moment = lock_repository_tags(repository_id)
            made_row = create_manifest(
                repository_id, made.manifest, policy=self.policy, now_ms=moment, protect=False
            )
            return registry.retarget_tag(repository_id, tag, made_row.manifest_id, policy=self.policy)


def pull(stores: Stores, repository_id: int, reference: str) -> int:
    """Read a manifest by tag or digest, what it lists and every byte; how many.  Raises `Lost`."""
    found = registry.get_manifest(repository_id, reference)
    if found is None:
        raise Lost(f"no manifest {reference}")
    text = found.text.encode()
    if digests.of(text) != found.digest:
        raise Lost(f"the manifest {found.digest} has other bytes")
    fields = json.loads(text)
    blobs = [fields["config"], *fields["layers"]] if "layers" in fields else []
    total = sum(pull(stores, repository_id, child["digest"]) for child in fields.get("manifests", ()))
    return total + sum(read_blob(stores, repository_id, blob["digest"]) for blob in blobs)


def read_blob(stores: Stores, repository_id: int, digest: str) -> int:
    """Read a blob as this repository sees it; its bytes.  Raises `Lost`."""
    found = registry.find_blob(repository_id, digest)
    if found is None:
        raise Lost(f"no blob {digest}")
    hashed, size = hashlib.sha256(), 0
    try:
        for chunk in stores[found.locations[0]].read(found.path):
            hashed.update(chunk)
            size += len(chunk)
    except NoSuchObject as error:
        raise Lost(f"blob {digest} has a row and no object") from error
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise Lost(f"blob {digest} has other bytes")
    return size
