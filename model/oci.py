"""Parse OCI and Docker image manifests and indexes.  Uses no database."""

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
    """A parsed manifest.  `text`, encoded as UTF-8, is exactly the content that has `digest`."""

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
        """Return whether the document is an index, which lists manifests instead of blobs."""
        return self.media_type in INDEXES

    @property
    def blobs(self) -> dict[str, Descriptor]:
        """Return the blobs that must be in the repository, by digest.  Remote layers are not among them."""
        parts = (self.config, *self.layers)
        return {part.digest: part for part in parts if part is not None and not part.remote}

    @property
    def remote(self) -> frozenset[str]:
        """Return the layers that can be fetched from `urls`.  They need not be in the repository."""
        return frozenset(layer.digest for layer in self.layers if layer.remote) - frozenset(self.blobs)

    @property
    def has_image_config(self) -> bool:
        """Return whether the config is that of an image, which may have labels."""
        return self.config is not None and self.config.media_type in (OCI_CONFIG, DOCKER_CONFIG)

    @property
    def layers_size(self) -> int | None:
        """Return the compressed bytes of all layers, or None for an index."""
        return None if self.is_index else sum(layer.size for layer in self.layers)


def parse(content: bytes, *, media_type: str | None = None, digest: str | None = None) -> Document:
    """Parse a manifest of schema version 2.

    `media_type` is the announced type.  Raises `BadManifest` if the document has another type, or could be
    both an image and an index; `BadDigest` if its digest is not `digest`.
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
        # OCI's specification of referrers: without an artifact type, the config's type counts.
        artifact_type=artifact_type or (config.media_type if config else None),
    )


def parse_json(content: bytes) -> dict[str, Any]:
    """Parse a JSON object from untrusted content.  Raises `BadManifest`."""
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
    # Old OCI layouts have no mediaType; then the fields decide.
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
    """Parse a descriptor of the list or field `name`.  Raises `BadManifest`."""
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
    """Return the labels of an image's config that can be stored; none if the config cannot be read."""
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
