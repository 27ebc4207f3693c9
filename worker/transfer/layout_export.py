"""Write a manifest, its children, its referrers and their blobs as an OCI image layout."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import digest as digests
from model import oci
from model.blob_list import find_blob
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import BadDigest, BadManifest, NoSuchBlob, NoSuchManifest
from model.manifest import FoundManifest, find_manifest, find_referrers
from worker.storage.base import NoSuchObject, Stores
from worker.transfer.layout import INDEX_LIMIT, REF_NAME, VERSION, Advance, BadLayout, blob_file, read_file


@dataclass(frozen=True)
class Exported:
    """What an export wrote; `missing` are children of sparse indexes that the repository lacks."""

    manifests: int
    referrers: int
    blobs: int
    bytes: int
    missing: int


def export_layout(
    stores: Stores,
    repository_id: int,
    digest: str,
    root: Path,
    *,
    tag: str | None = None,
    advance: Advance = lambda _bytes: None,
) -> Exported:
    """Write the manifest, its children, its referrers and all their blobs; `index.json` comes last.

    Verifies every blob by its digest.  Adds to a layout that exists; refuses any other directory that is not
    empty.  Idempotent.  A crash leaves blobs that the layout does not list.
    """
    entries = _prepare(root)
    with connection():
        closure = _Closure(repository_id)
        closure.add(digest)
        blobs = {key: part for document in closure.documents.values() for key, part in document.blobs.items()}
        written = sum(
            _write_blob(stores, repository_id, blob, part.size, root, advance) for blob, part in blobs.items()
        )
    for document in closure.documents.values():
        _store(root, document.digest, [document.text.encode()], None)
    top = [_entry(closure.documents[digest], {REF_NAME: tag} if tag else {})]
    top += [_entry(closure.documents[referrer], {}) for referrer in closure.referrers]
    index = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": _merged(entries, top)}
    _replace(root / "index.json", index)
    return Exported(
        manifests=len(closure.documents),
        referrers=len(closure.referrers),
        blobs=len(blobs),
        bytes=written,
        missing=len(closure.missing),
    )


class _Closure:
    """A manifest with all its children, blobs and referrers."""

    def __init__(self, repository_id: int) -> None:
        self._repository_id = repository_id
        self.documents: dict[str, oci.Document] = {}
        self.referrers: list[str] = []
        self.missing: set[str] = set()

    def add(self, digest: str) -> None:
        """Walk from this manifest.  Raises `NoSuchManifest` if the repository does not have it."""
        start = find_manifest(self._repository_id, digest)
        if start is None:
            raise NoSuchManifest(digest=digest)
        waiting = [start]
        while waiting:
            found = waiting.pop()
            if found.digest in self.documents:
                continue
            document = _parse(found)
            self.documents[found.digest] = document
            for child in document.children:
                below = find_manifest(self._repository_id, child.digest)
                if below is None:
                    self.missing.add(child.digest)
                else:
                    waiting.append(below)
            for referrer in find_referrers(self._repository_id, found.digest):
                if referrer.digest not in self.documents and referrer.digest not in self.referrers:
                    self.referrers.append(referrer.digest)
                    waiting.append(referrer)


def _parse(found: FoundManifest) -> oci.Document:
    try:
        return oci.parse(found.text.encode(), media_type=found.media_type, digest=found.digest)
    except BadDigest as error:
        raise BadDigest(
            "The database holds a manifest that does not have its digest", **error.facts
        ) from error


def _entry(document: oci.Document, annotations: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": len(document.text.encode()),
    }
    if document.subject and document.artifact_type:
        entry["artifactType"] = document.artifact_type
    return {**entry, "annotations": dict(annotations)} if annotations else entry


def _prepare(root: Path) -> list[dict[str, Any]]:
    """Return the entries of an existing layout.  Raises `BadLayout` if the directory is something else."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in os.scandir(root)}
    except OSError as error:
        raise BadLayout(f"{root}: {error.strerror}: it must be a directory that can be written") from error
    if not names:
        # Written first, so that the files of an interrupted export are recognised as a layout.
        _replace(root / "oci-layout", {"imageLayoutVersion": VERSION})
        return []
    if "oci-layout" not in names or not ("index.json" in names or names <= {"oci-layout", "blobs"}):
        raise BadLayout(f"{root} is not empty and is no OCI layout: choose another directory")
    version = _json(root / "oci-layout").get("imageLayoutVersion")
    entries = _json(root / "index.json").get("manifests") if "index.json" in names else []
    if version != VERSION or not isinstance(entries, list):
        raise BadLayout(f"{root} holds an OCI layout that cannot be added to: choose another directory")
    return [entry for entry in entries if isinstance(entry, dict)]


def _json(file: Path) -> dict[str, Any]:
    try:
        return oci.parse_json(b"".join(read_file(file))[:INDEX_LIMIT])
    except BadManifest as error:
        raise BadLayout(f"{file}: {error}: choose another directory") from error


def _write_blob(
    stores: Stores, repository_id: int, digest: str, size: int, root: Path, advance: Advance
) -> int:
    found = find_blob(repository_id, digest, now_ms=now_ms())
    if found is None:
        raise NoSuchBlob(digest=digest)
    for location in found.locations:
        with suppress(NoSuchObject):
            return _store(root, digest, _noted(stores[location].read(found.path), advance), size)
    raise NoSuchObject("The blob's object is not in storage: run `dredge fsck`", digest=digest)


def _store(root: Path, digest: str, chunks: Iterable[bytes], size: int | None) -> int:
    """Write a blob unless it exists completely; it gets its name only after it is verified."""
    file = blob_file(root, digest)
    if file.exists():
        with suppress(BadDigest):
            return sum(len(chunk) for chunk in digests.verified(read_file(file), digest, size))
    temporary = file.with_name(f".{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as opened:
            written = sum(opened.write(chunk) for chunk in digests.verified(chunks, digest, size))
        temporary.replace(file)
    except OSError as error:
        raise BadLayout(f"{file}: {error.strerror}: it cannot be written") from error
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge entries: a name refers to its new image, and an image is listed once under each name."""
    taken = {_name(entry) for entry in new} - {None}
    known = {(entry["digest"], _name(entry)) for entry in new}
    kept = [
        entry
        for entry in old
        if _name(entry) not in taken and (entry.get("digest"), _name(entry)) not in known
    ]
    return kept + new


def _name(entry: Mapping[str, Any]) -> str | None:
    annotations = entry.get("annotations")
    return annotations.get(REF_NAME) if isinstance(annotations, dict) else None


def _replace(file: Path, fields: Mapping[str, Any]) -> None:
    temporary = file.with_name(f".{uuid.uuid4().hex}")
    try:
        temporary.write_text(json.dumps(fields, indent=1) + "\n")
        temporary.replace(file)
    except OSError as error:
        raise BadLayout(f"{file}: {error.strerror}: it cannot be written") from error


def _noted(chunks: Iterable[bytes], advance: Advance) -> Iterable[bytes]:
    for chunk in chunks:
        advance(len(chunk))
        yield chunk
