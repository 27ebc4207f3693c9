"""A registry for a test: factories with sensible defaults, and a diff of the whole database.

A `World` writes through its own connection (autocommit), so hooks on `model.db.connection` do not see it.
Every factory returns a `Row`: an int, the row's ID, with the facts as attributes.

    gone = world.tag("old", ended_ms=40_000)
    world.tag("fresh", ended_ms=40_001)
    with world.only_removes(tag=gone):
        ...
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from typing import Any

from tests.support.rows import Row, timestamp
from tests.support.snapshot import Snapshots
from tests.support.world_extras import Extras

__all__ = ["IMAGE", "INDEX", "WEEK_S", "Row", "World", "digest_of", "timestamp"]

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
WEEK_S = 7 * 24 * 3600


def digest_of(content: bytes | str) -> str:
    """Return the digest of some bytes."""
    return "sha256:" + hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


class World(Extras, Snapshots):
    """Factories for all rows of a registry, in one database."""

    # ---------------------------------------------------------------- owners

    def namespace(
        self, name: str | None = None, *, window_s: int = 2 * WEEK_S, enabled: bool = True, **more: Any
    ) -> Row:
        """Make an organisation whose deleted tags can be restored for `window_s` seconds."""
        name = name or f"ns{next(self._numbers)}"
        facts: dict[str, Any] = {
            "username": name,
            "email": f"{name}@example.com",
            "uuid": str(uuid.uuid4()),
            "verified": True,
            "organization": True,
            "robot": False,
            "invoice_email": False,
            "last_invalid_login": timestamp(0),
            "removed_tag_expiration_s": window_s,
            "enabled": enabled,
        }
        return Row(self.insert("user", **(facts | more)), name=name, window_s=window_s)

    def repository(
        self,
        name: str | None = None,
        *,
        namespace: Row | int | None = None,
        state: int = 0,
        kind: str = "image",
    ) -> Row:
        """Make a repository, by default in the world's default namespace."""
        owner = self.default_namespace if namespace is None else namespace
        name = name or f"repo{next(self._numbers)}"
        id = self.insert(
            "repository",
            namespace_user_id=int(owner),
            name=name,
            visibility_id=self.lookup("visibility", "private"),
            badge_token=uuid.uuid4().hex,
            kind_id=self.lookup("repositorykind", kind),
            state=state,
        )
        return Row(id, name=name, namespace=owner, namespace_name=getattr(owner, "name", None))

    def due_repositories(self, number: int) -> list[int]:
        """Make repositories like the default one, each due since the first millisecond; return their IDs."""
        found = self.rows(
            "WITH made AS (INSERT INTO repository"
            " (namespace_user_id, name, visibility_id, badge_token, kind_id, state)"
            " SELECT namespace_user_id, name || n, visibility_id, n, kind_id, state"
            " FROM repository CROSS JOIN generate_series(1, %s) n WHERE id = %s"
            " RETURNING id, namespace_user_id)"
            " INSERT INTO dredge_due (repository_id, namespace_id, due_ms, next_try_ms)"
            " SELECT id, namespace_user_id, 1, 1 FROM made ORDER BY 1 RETURNING repository_id",
            (number, self.repository_id),
        )
        return [id for (id,) in found]

    @property
    def default_namespace(self) -> Row:
        """Return the namespace `acme`, with a recovery window of two weeks."""
        if "namespace" not in self._defaults:
            self._defaults["namespace"] = self.namespace("acme")
        return self._defaults["namespace"]

    @property
    def default_repository(self) -> Row:
        """Return the repository `acme/app`."""
        if "repository" not in self._defaults:
            self._defaults["repository"] = self.repository("app")
        return self._defaults["repository"]

    @property
    def namespace_id(self) -> int:
        return int(self.default_namespace)

    @property
    def repository_id(self) -> int:
        return int(self.default_repository)

    # --------------------------------------------------------------- content

    def blob(
        self,
        size: int | None = 100,
        *,
        digest: str | None = None,
        placement: str | None = "local_us",
        cas_path: bool = True,
    ) -> Row:
        """Make a blob as Quay writes it, with one placement, or none with `placement=None`."""
        digest = digest or digest_of(f"blob {next(self._numbers)} {uuid.uuid4()}")
        key = str(uuid.uuid4())
        id = self.insert(
            "imagestorage",
            uuid=key,
            image_size=size,
            uploading=True,  # Quay never clears it.
            cas_path=cas_path,
            content_checksum=digest,
        )
        if placement:
            self.place(id, placement)
        return Row(id, digest=digest, size=size, uuid=key, cas_path=cas_path)

    def place(self, blob: int, location: str) -> Row:
        """Add a placement: the blob's object also exists at this location."""
        where = self.lookup("imagestoragelocation", location)
        return Row(self.insert("imagestorageplacement", storage_id=int(blob), location_id=where))

    def manifest(
        self,
        repository: Row | int | None = None,
        *,
        blobs: Sequence[int] = (),
        children: Sequence[int] = (),
        subject: str | None = None,
        digest: str | None = None,
        labels: int = 0,
        media_type: str | None = None,
        artifact_type: str | None = None,
        content: str | None = None,
    ) -> Row:
        """Make a manifest with its links in one repository; with children, it is an index."""
        where = self.default_repository if repository is None else repository
        media_type = media_type or (INDEX if children else IMAGE)
        if content is None:
            content = _content(media_type, blobs, children, subject, artifact_type)
        digest = digest or digest_of(content)
        id = self.insert(
            "manifest",
            repository_id=int(where),
            digest=digest,
            media_type_id=self.lookup("mediatype", media_type),
            manifest_bytes=content,
            config_media_type=None if children else CONFIG,
            layers_compressed_size=sum(getattr(blob, "size", None) or 0 for blob in blobs),
            subject=subject,
            subject_backfilled=True,
            artifact_type=artifact_type,
            artifact_type_backfilled=True,
        )
        made = Row(id, digest=digest, repository=where, media_type=media_type, subject=subject)
        for blob in blobs:
            self.insert("manifestblob", repository_id=int(where), manifest_id=id, blob_id=int(blob))
        for child in children:
            self.child(made, child)
        for _ in range(labels):
            self.label(made)
        return made

    def child(self, index: Row, manifest: int) -> Row:
        """Add the manifest to the index's children."""
        columns = {"manifest_id": int(index), "child_manifest_id": int(manifest)}
        return Row(self.insert("manifestchild", repository_id=int(index.repository), **columns))

    def label(self, manifest: Row, key: str = "maintainer", value: str = "someone") -> Row:
        """Add a label to the manifest."""
        source = self.value("SELECT id FROM labelsourcetype WHERE name = 'manifest'")
        media_type = self.lookup("mediatype", "text/plain")
        label = self.insert(
            "label",
            uuid=str(uuid.uuid4()),
            key=key,
            value=value,
            media_type_id=media_type,
            source_type_id=source,
        )
        columns = {"manifest_id": int(manifest), "label_id": label}
        self.insert("manifestlabel", repository_id=int(manifest.repository), **columns)
        return Row(label, key=key, value=value)

    def tag(
        self,
        name: str | None = None,
        *,
        manifest: Row | int | None = None,
        repository: Row | int | None = None,
        ended_ms: int | None = None,
        start_ms: int | None = None,
        hidden: bool = False,
        immutable: bool = False,
        linked: int | None = None,
    ) -> Row:
        """Make one lifetime of a tag, by default on a new manifest; alive unless `ended_ms` is given."""
        name = name or f"tag{next(self._numbers)}"
        if manifest is None:
            manifest = self.manifest(repository)
        if repository is None:
            repository = getattr(manifest, "repository", None) or self.default_repository
        if start_ms is None:
            start_ms = self.now_ms - 1000 if ended_ms is None else max(0, ended_ms - 1000)
        id = self.insert(
            "tag",
            name=name,
            repository_id=int(repository),
            manifest_id=int(manifest),
            lifetime_start_ms=start_ms,
            lifetime_end_ms=ended_ms,
            hidden=hidden,
            tag_kind_id=self.lookup("tagkind", "tag"),
            immutable=immutable,
            linked_tag_id=linked,
        )
        return Row(id, name=name, manifest=manifest, repository=repository, ended_ms=ended_ms)

    def hold(self, manifest: Row | int, *, age_ms: int = 2000) -> Row:
        """Make a push's temporary tag of this age, which keeps the manifest for another hour."""
        name, now_ms = f"$temp-{next(self._numbers)}", self.now_ms
        started_ms, ends_ms = now_ms - age_ms, now_ms + 3_600_000
        return self.tag(name, manifest=manifest, hidden=True, start_ms=started_ms, ended_ms=ends_ms)


def _content(
    media_type: str,
    blobs: Sequence[int],
    children: Sequence[int],
    subject: str | None,
    artifact_type: str | None,
) -> str:
    """Return a manifest's text; each is unique, as real ones are."""
    made: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if children:
        made["manifests"] = [_descriptor(child, IMAGE) for child in children]
    else:
        made["config"] = _descriptor(blobs[0], CONFIG) if blobs else _EMPTY
        made["layers"] = [_descriptor(b, "application/vnd.oci.image.layer.v1.tar+gzip") for b in blobs[1:]]
    if artifact_type:
        made["artifactType"] = artifact_type
    if subject:
        made["subject"] = {"mediaType": IMAGE, "digest": subject, "size": 1}
    made["annotations"] = {"made": str(uuid.uuid4())}
    return json.dumps(made)


def _descriptor(row: int, media_type: str) -> dict[str, Any]:
    known = {
        "digest": getattr(row, "digest", None) or digest_of(str(row)),
        "size": getattr(row, "size", None) or 0,
    }
    return {"mediaType": media_type, **known}


_EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of("{}"), "size": 2}
