"""Read an OCI image layout.  Nothing is trusted until every byte is verified."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import digest as digests
from model import oci
from model.errors import BadDigest, BadManifest, RegistryError
from model.oci import Descriptor, Document

VERSION = "1.0.0"
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
INDEX_LIMIT = 16 << 20
_CONFIG_LIMIT = 8 << 20
_CHUNK = 1 << 20
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MANIFESTS = oci.IMAGES | oci.INDEXES
_UNKNOWN = "application/octet-stream"

Advance = Callable[[int], None]


class BadLayout(RegistryError):
    """This is not a valid OCI image layout."""


@dataclass(frozen=True)
class Layout:
    """A verified layout.  `documents` are in the order of a push: a manifest comes after its references."""

    root: Path
    documents: tuple[Document, ...]
    tags: Mapping[str, str]
    blobs: Mapping[str, int]
    labels: Mapping[str, Mapping[str, str]]
    top: frozenset[str]
    skipped: int

    def read(self, digest: str) -> Iterator[bytes]:
        """Return the bytes of one blob."""
        return read_file(blob_file(self.root, digest))


def blob_file(root: Path, digest: str) -> Path:
    """Return the file of a blob in a layout."""
    algorithm, _, value = digests.checked(digest).partition(":")
    return root / "blobs" / algorithm / value


def read_layout(root: Path, *, sparse: bool = False, advance: Advance = lambda _bytes: None) -> Layout:
    """Read and verify a whole layout.  Raises `BadLayout` with one line.  Writes nothing.

    `sparse` accepts indexes that lack some of their manifests.  `advance` receives the number of bytes
    verified.
    """
    top, tags, skipped = _read_index(root)
    documents = _load_documents(root, top, sparse)
    blobs = _blobs_of(documents)
    for digest, size in blobs.items():
        _verify_blob(root, digest, size, advance)
    return Layout(
        root=root,
        documents=_in_order(documents),
        tags=tags,
        blobs=blobs,
        labels={document.digest: _labels(root, document) for document in documents.values()},
        top=frozenset(descriptor.digest for descriptor in top),
        skipped=skipped,
    )


def _read_index(root: Path) -> tuple[Sequence[Descriptor], dict[str, str], int]:
    marker = _json(root / "oci-layout", 4096)
    if marker.get("imageLayoutVersion") != VERSION:
        raise BadLayout(f"{root}: only version {VERSION} of the layout is supported")
    index = _json(root / "index.json", INDEX_LIMIT)
    items = index.get("manifests")
    if not isinstance(items, list):
        raise BadLayout(f"{root / 'index.json'}: `manifests` must be a list")
    if not (root / "blobs").is_dir():
        raise BadLayout(f"{root}: there is no directory `blobs`")
    top: list[Descriptor] = []
    tags: dict[str, str] = {}
    for item in items:
        try:
            descriptor = oci.descriptor(item, "manifests")
        except BadManifest as error:
            raise BadLayout(f"{root / 'index.json'}: {error}") from error
        # The specification allows entries that are not manifests, such as build caches.
        if descriptor.media_type not in (*_MANIFESTS, _UNKNOWN):
            continue
        top.append(descriptor)
        name = tag_of(item.get("annotations"))
        if name and tags.setdefault(name, descriptor.digest) != descriptor.digest:
            raise BadLayout(f"{root / 'index.json'}: two images are named {name}")
    return top, tags, len(items) - len(top)


def tag_of(annotations: Any) -> str | None:
    """Return the tag of an entry of `index.json`; of a full reference, only its last part."""
    if not isinstance(annotations, dict):
        return None
    value = annotations.get(REF_NAME) or annotations.get(CONTAINERD_NAME)
    if not value:
        return None
    if not isinstance(value, str):
        raise BadLayout("index.json: an image's name must be text")
    name, _, digest = value.partition("@")
    last = name.rpartition("/")[2]
    if ":" in last:
        tag = last.rpartition(":")[2]
    elif digest:
        return None
    else:
        tag = "latest" if "/" in name else name
    if not _TAG.fullmatch(tag):
        raise BadLayout(f"index.json: {tag[:150]!r} cannot be a tag")
    return tag


def _load_documents(root: Path, top: Sequence[Descriptor], sparse: bool) -> dict[str, Document]:
    """Return every manifest that is reachable from `index.json`, each once."""
    found: dict[str, Document] = {}
    waiting = [(descriptor, False) for descriptor in top]
    while waiting:
        descriptor, may_miss = waiting.pop()
        known = found.get(descriptor.digest)
        if known is None:
            if may_miss and not blob_file(root, descriptor.digest).exists():
                continue
            known = found[descriptor.digest] = _load(root, descriptor)
            waiting += [(child, sparse) for child in known.children]
        if len(known.text.encode()) != descriptor.size:
            raise BadLayout(f"{root}: {descriptor.digest} has another size than its index says")
    return found


def _load(root: Path, descriptor: Descriptor) -> Document:
    if descriptor.media_type not in (*_MANIFESTS, _UNKNOWN):
        raise BadLayout(f"{root}: an index lists {descriptor.digest}, which is {descriptor.media_type}")
    file = blob_file(root, descriptor.digest)
    content = _content(file, oci.MANIFEST_LIMIT)
    media_type = None if descriptor.media_type == _UNKNOWN else descriptor.media_type
    try:
        return oci.parse(content, media_type=media_type, digest=descriptor.digest)
    except (BadManifest, BadDigest) as error:
        raise BadLayout(f"{file}: {error}") from error


def _in_order(documents: Mapping[str, Document]) -> tuple[Document, ...]:
    """Sort children before their indexes, and subjects before their referrers."""
    done: dict[str, Document] = {}
    path: set[str] = set()
    waiting = [(digest, False) for digest in list(documents)[::-1]]
    while waiting:
        digest, entered = waiting.pop()
        if entered:
            path.discard(digest)
            done[digest] = documents[digest]
        elif digest in path:
            raise BadLayout(f"{digest} contains itself")
        elif digest in documents and digest not in done:
            path.add(digest)
            waiting.append((digest, True))
            waiting += [(below, False) for below in _below(documents[digest]) if below not in done]
    return tuple(done.values())


def _below(document: Document) -> list[str]:
    parts = (*document.children, *((document.subject,) if document.subject else ()))
    return list(dict.fromkeys(part.digest for part in parts))


def _blobs_of(documents: Mapping[str, Document]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for document in documents.values():
        for digest, descriptor in document.blobs.items():
            if sizes.setdefault(digest, descriptor.size) != descriptor.size:
                raise BadLayout(f"{document.digest} gives {digest} another size than others do")
    return sizes


def _verify_blob(root: Path, digest: str, size: int, advance: Advance) -> None:
    file = blob_file(root, digest)
    try:
        for chunk in digests.verified(read_file(file), digest, size):
            advance(len(chunk))
    except BadDigest as error:
        raise BadLayout(f"{file}: {error}") from error


def _labels(root: Path, document: Document) -> Mapping[str, str]:
    config = document.config
    if config is None or not document.has_image_config or config.size > _CONFIG_LIMIT:
        return {}
    return oci.config_labels(_content(blob_file(root, config.digest), _CONFIG_LIMIT))


def _json(file: Path, limit: int) -> dict[str, Any]:
    try:
        return oci.parse_json(_content(file, limit))
    except BadManifest as error:
        raise BadLayout(f"{file}: {error}") from error


def _content(file: Path, limit: int) -> bytes:
    content = b""
    for chunk in read_file(file):
        content += chunk
        if len(content) > limit:
            raise BadLayout(
                f"{file}: it is larger than {limit >> 20} MiB" if limit >> 20 else f"{file}: too large"
            )
    return content


def read_file(file: Path) -> Iterator[bytes]:
    """Yield the bytes of a regular file.  Raises `BadLayout` for a link or a device."""
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise BadLayout(f"{file}: it is not a regular file")
        with file.open("rb", buffering=0) as opened:
            while chunk := opened.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise BadLayout(f"{file}: {error.strerror}") from error
