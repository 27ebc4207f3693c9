"""Make real container images from directories of this machine, as an OCI image layout.

The demonstration and the tests use it; any tool that reads OCI layouts can, too.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import zstandard

from model import digest as digests
from model.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST

Compression = Literal["gzip", "zstd", "none"]
REF_NAME = "org.opencontainers.image.ref.name"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
_SUFFIX = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}


@dataclass(frozen=True)
class Layer:
    """A stored layer: its descriptor, and the digest of its tar before compression."""

    descriptor: dict[str, Any]
    diff_id: str


@dataclass
class LayoutBuilder:
    """Writes each blob at once, and `index.json` at `finish`.

    Deterministic: the same files give the same digests.
    """

    root: Path
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (self.root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Store some bytes.  Returns their descriptor."""
        digest = digests.of(content)
        (self.root / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def document(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Store a manifest or index.  Returns its descriptor."""
        media_type = str(fields.get("mediaType", OCI_MANIFEST))
        return self.blob(json.dumps(fields, separators=(",", ":")).encode(), media_type)

    def layer(self, files: Iterable[tuple[str, bytes]], *, compression: Compression = "gzip") -> Layer:
        """Store a layer of (name, content) pairs."""
        raw = _tar(files)
        packed = _compress(raw, compression)
        return Layer(self.blob(packed, LAYER + _SUFFIX[compression]), digests.of(raw))

    def directory_layer(
        self, directory: Path, *, limit: int = 2 << 20, compression: Compression = "gzip"
    ) -> Layer:
        """Store a layer of the regular files of a directory, in order of name, up to `limit` bytes."""
        return self.layer(_files_of(directory, limit), compression=compression)

    def image(
        self,
        layers: Sequence[Layer],
        *,
        architecture: str = "amd64",
        labels: Mapping[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Store an image manifest and its config; `more` overrides fields of the manifest."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": dict(labels)} if labels else {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        stored = self.blob(json.dumps(config, sort_keys=True).encode(), OCI_CONFIG)
        fields = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": stored,
            "layers": [layer.descriptor for layer in layers],
        }
        made = self.document({k: v for k, v in (fields | more).items() if v is not None})
        return made | {"platform": {"architecture": architecture, "os": "linux"}}

    def index(self, manifests: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """Store an index of manifests, which is a multi-architecture image."""
        fields = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}
        return self.document(fields | more) | {"mediaType": OCI_INDEX}

    def signature(self, subject: Mapping[str, Any]) -> dict[str, Any]:
        """Store a signature of `subject` as a referrer, as Cosign does with OCI 1.1."""
        payload = {"critical": {"image": {"docker-manifest-digest": subject["digest"]}}, "optional": None}
        return self.referrer(subject, SIGNATURE, json.dumps(payload).encode(), SIMPLE_SIGNING)

    def referrer(
        self, subject: Mapping[str, Any], artifact_type: str, content: bytes, media_type: str
    ) -> dict[str, Any]:
        """Store an artifact (signature, SBOM, …) whose subject is another manifest."""
        fields = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": self.blob(b"{}", EMPTY_CONFIG),
            "layers": [self.blob(content, media_type)],
            "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
        }
        return self.document(fields) | {"artifactType": artifact_type}

    def add(self, descriptor: Mapping[str, Any], tag: str | None = None) -> None:
        """List a manifest in `index.json`, under the name of a tag if one is given."""
        annotations = {"annotations": {REF_NAME: tag}} if tag else {}
        self.entries.append({**descriptor, **annotations})

    def finish(self) -> Path:
        """Write `index.json`.  Returns the layout's directory."""
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.entries}
        (self.root / "index.json").write_text(json.dumps(index))
        return self.root


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _compress(raw: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(raw, compresslevel=1, mtime=0)
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=1).compress(raw)
    return raw


def _files_of(directory: Path, limit: int) -> Iterable[tuple[str, bytes]]:
    taken = 0
    for path in sorted(directory.rglob("*")):
        try:
            if path.is_symlink() or not path.is_file() or taken + path.stat().st_size > limit:
                continue
            content = path.read_bytes()
        except OSError:
            continue  # This user may not read it.
        taken += len(content)
        yield str(path.relative_to(directory.parent)), content
