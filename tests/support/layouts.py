"""OCI image layouts for tests: valid ones as tools write them, and functions that break them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model import registry
from model.names import parse_repository
from model.policy import DEFAULT
from worker.local.images import REF_NAME, LayoutBuilder
from worker.storage.base import Stores
from worker.transfer.layout import read_layout
from worker.transfer.layout_export import Exported, export_layout
from worker.transfer.layout_import import Imported, import_layout


def rich_layout(root: Path) -> Path:
    """Write two tags that share a layer: a multi-architecture index and a single image, both signed."""
    builder = LayoutBuilder(root)
    base = builder.layer([("etc/os-release", b"NAME=demo\n"), ("bin/true", b"\x7fELF" * 50)])
    images = []
    for architecture, compression in (("amd64", "gzip"), ("arm64", "zstd")):
        own = builder.layer([("etc/arch", architecture.encode())], compression=compression)  # type: ignore[arg-type]
        images.append(
            builder.image(
                [base, own], architecture=architecture, labels={"arch": architecture, "team": "infra"}
            )
        )
        builder.add(builder.signature(images[-1]))
    index = builder.index(images)
    builder.add(index, "multi")
    signature = builder.signature(index)
    builder.add(signature)
    builder.add(builder.referrer(signature, "application/spdx+json", b'{"sbom": 1}', "application/json"))
    builder.add(builder.image([base]), "single")
    return builder.finish()


def plain_layout(root: Path, tag: str | None = "v1", **more: Any) -> Path:
    """Write one image with one layer."""
    builder = LayoutBuilder(root)
    builder.add(builder.image([builder.layer([("a", b"a file")])], **more), tag)
    return builder.finish()


def index_of(root: Path) -> dict[str, Any]:
    """Return the content of `index.json`."""
    found: dict[str, Any] = json.loads((root / "index.json").read_text())
    return found


def change_index(root: Path, **fields: Any) -> None:
    """Override fields of `index.json`."""
    (root / "index.json").write_text(json.dumps(index_of(root) | fields))


def change_entry(root: Path, position: int = 0, **fields: Any) -> None:
    """Override fields of one entry of `index.json`."""
    entries = index_of(root)["manifests"]
    entries[position] |= fields
    change_index(root, manifests=entries)


def name_entry(root: Path, name: str, position: int = 0) -> None:
    """Give an entry of `index.json` a name."""
    change_entry(root, position, annotations={REF_NAME: name})


def blob(root: Path, digest: str) -> Path:
    """Return the file of a blob."""
    return root / "blobs" / "sha256" / digest.partition(":")[2]


def manifest_of(root: Path, position: int = 0) -> dict[str, Any]:
    """Return the manifest that an entry of `index.json` names."""
    found: dict[str, Any] = json.loads(
        blob(root, index_of(root)["manifests"][position]["digest"]).read_bytes()
    )
    return found


def replace_manifest(root: Path, content: bytes | dict[str, Any], **entry: Any) -> None:
    """Write another manifest and let the first entry name it, with the right digest and size."""
    builder = LayoutBuilder(root)
    if isinstance(content, dict):
        content = json.dumps(content).encode()
    made = builder.blob(content, "")
    change_entry(root, digest=made["digest"], size=made["size"], **entry)


def bring(stores: Stores, root: Path, repository: str = "acme/shop", **more: Any) -> Imported:
    """Import a layout."""
    return import_layout(stores, read_layout(root), parse_repository(repository), policy=DEFAULT, **more)


def take(stores: Stores, tag: str, root: Path, repository: str = "acme/shop") -> Exported:
    """Export a tag."""
    where = registry.get_repository(repository).id
    found = registry.get_tag(where, tag)
    assert found is not None
    return export_layout(stores, where, found.digest, root, tag=tag)
