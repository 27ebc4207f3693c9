"""Manifests as documents: what an OCI or Docker image manifest or index says.  No database."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from model import digest as digests
from model.errors import BadDigest, BadManifest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_LIMIT = 4 << 20
_ITEM_LIMIT = 20_000
_SIZE_LIMIT = 1 << 62
_TEXT = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True)
class Descriptor:
    """A reference to content: its digest, size and type."""

    digest: str
    size: int
    media_type: str
    remote: bool = False


@dataclass(frozen=True)
class Document:
    """A manifest as it was parsed; `text` encodes to exactly the bytes that have `digest`."""

    digest: str
    text: str
    media_type: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None

    @property
    def is_index(self) -> bool:
        """Return whether it lists manifests instead of blobs."""
        return self.media_type in INDEXES

    @property
    def blobs(self) -> dict[str, Descriptor]:
        """The blobs that must be in the repository, each digest once; remote layers need not be."""
        parts = (self.config, *self.layers)
        return {part.digest: part for part in parts if part is not None and not part.remote}

    @property
    def remote(self) -> frozenset[str]:
        """Layers that lie elsewhere too (`urls`): they need not be in the repository."""
        return frozenset(layer.digest for layer in self.layers if layer.remote) - frozenset(self.blobs)

    @property
    def has_image_config(self) -> bool:
        """Return whether its config is an image's, which may hold labels."""
        return self.config is not None and self.config.media_type in (OCI_CONFIG, DOCKER_CONFIG)

    @property
    def layers_size(self) -> int | None:
        """Compressed bytes of all layers; None for an index."""
        return None if self.is_index else sum(layer.size for layer in self.layers)


def parse(content: bytes, *, media_type: str | None = None, digest: str | None = None) -> Document:
    """Read a manifest of schema 2; raises `BadManifest`, or `BadDigest` where it is not `digest`.

    `media_type` is what it was announced as; a document that calls itself something else, or could
    be read as both an image and an index, is refused.
    """
    if len(content) > MANIFEST_LIMIT:
        raise BadManifest("The manifest is larger than 4 MiB", bytes=len(content))
    algorithm = digests.checked(digest).partition(":")[0] if digest else "sha256"
    actual = digests.of(content, algorithm)
    if digest is not None and actual != digest:
        raise BadDigest(digest=digest, got=actual)
    fields = parse_json(content)
    found = _media_type(fields, media_type)
    is_index = found in INDEXES
    config = None if is_index else descriptor(fields.get("config"), "config")
    subject = descriptor(fields["subject"], "subject") if fields.get("subject") is not None else None
    artifact_type = _text(fields.get("artifactType"), "artifactType")
    return Document(
        digest=actual,
        text=content.decode(),
        media_type=found,
        config=config,
        layers=() if is_index else _descriptors(fields, "layers"),
        children=_descriptors(fields, "manifests") if is_index else (),
        subject=subject,
        # As the specification of referrers has it: the config's type where none is given.
        artifact_type=artifact_type or (config.media_type if config else None),
    )


def parse_json(content: bytes) -> dict[str, Any]:
    """A JSON object from hostile bytes; raises `BadManifest`."""
    try:
        fields = json.loads(content.decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadManifest(f"This is not JSON: {str(error)[:100]}") from error
    if not isinstance(fields, dict):
        raise BadManifest("This is JSON, but not an object")
    return fields


def _media_type(fields: dict[str, Any], announced: str | None) -> str:
    announced = announced.partition(";")[0].strip() if announced else None
    version = fields.get("schemaVersion")
    if version != 2 or isinstance(version, bool):
        raise BadManifest(
            "Only manifests of schema version 2 are supported", schemaVersion=repr(version)[:20]
        )
    stated = _text(fields.get("mediaType"), "mediaType")
    if announced and stated and announced != stated:
        raise BadManifest(
            "The manifest's media type is not the announced one", announced=announced, stated=stated
        )
    is_index, is_image = "manifests" in fields, "layers" in fields or "config" in fields
    if is_index == is_image:
        raise BadManifest("The manifest must have either `manifests` or `config` and `layers`")
    # Old OCI layouts leave mediaType out: the shape decides.
    found = stated or announced or (OCI_INDEX if is_index else OCI_MANIFEST)
    if found not in (INDEXES if is_index else IMAGES):
        raise BadManifest("The manifest has no supported media type", media_type=found)
    return found


def _descriptors(fields: dict[str, Any], name: str) -> tuple[Descriptor, ...]:
    items = fields.get(name)
    if not isinstance(items, list):
        raise BadManifest(f"`{name}` must be a list")
    if len(items) > _ITEM_LIMIT:
        raise BadManifest(f"`{name}` has more than {_ITEM_LIMIT} entries")
    return tuple(descriptor(item, name) for item in items)


def descriptor(value: Any, name: str) -> Descriptor:
    """Read one descriptor out of the list or field `name`; raises `BadManifest`."""
    if not isinstance(value, dict):
        raise BadManifest(f"`{name}` must hold descriptors")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _SIZE_LIMIT:
        raise BadManifest(f"A descriptor in `{name}` has no valid size", size=repr(size)[:40])
    try:
        digest = digests.checked(value.get("digest"))
    except BadDigest as error:
        raise BadManifest(f"A descriptor in `{name}` has no valid digest", **error.facts) from error
    media_type = _text(value.get("mediaType"), f"{name}.mediaType")
    return Descriptor(digest, size, media_type or "application/octet-stream", bool(value.get("urls")))


def _text(value: Any, name: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise BadManifest(f"`{name}` must be a short plain text", value=repr(value)[:60])
    return value


def config_labels(content: bytes) -> dict[str, str]:
    """The labels in an image's config, those that can be stored; none where the config is odd."""
    try:
        inner = parse_json(content).get("config")
    except BadManifest:
        return {}
    labels = inner.get("Labels") if isinstance(inner, dict) else None
    return {k: v for k, v in labels.items() if _storable(k, v)} if isinstance(labels, dict) else {}


def _storable(key: str, value: Any) -> bool:
    if not isinstance(value, str) or not 0 < len(key) <= 255 or "\0" in key + value:
        return False
    try:
        (key + value).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True
