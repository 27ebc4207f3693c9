"""Real bytes and manifests for races, and actors that return what their operations promised."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from model import registry
from model.blob import mount_blob
from model.db.clock import now_ms
from model.gc.collect import collect_batch, collect_batches
from model.gc.review import review_batch
from model.manifest import create_manifest
from model.policy import DEFAULT, Policy
from model.storage_paths import object_path
from tests.support.pipeline import BUDGET_S, LOCATION
from tests.support.race_harness import BlobClaim, ManifestClaim, RaceHarness, TagClaim
from tests.support.world import CONFIG, IMAGE, INDEX, Row, World, digest_of
from worker.jobs.erase import erase
from worker.jobs.review import review
from worker.transfer.push import store_blob

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
LONG_AGO_MS = 1_000
LIMIT = 100


@dataclass(frozen=True)
class Image:
    """A manifest's bytes, and the blobs that it names."""

    content: bytes
    blobs: tuple[Row, ...] = ()
    children: tuple[Row, ...] = ()
    subject: str | None = None

    @property
    def digest(self) -> str:
        return digest_of(self.content)


class RaceActors:
    """Makes content in the harness's world, and actors that use it."""

    def __init__(self, harness: RaceHarness) -> None:
        self.harness, self.world, self.policy = harness, harness.world, harness.policy

    # ------------------------------------------------------------------------------------ content

    def layer(self, text: str, *, stored: bool = True, **options: Any) -> Row:
        """Make a blob with its object, named by its text."""
        made = self.world.blob(len(text), digest=digest_of(text), **options)
        if stored:
            self.harness.put(made, text.encode())
        return made

    def image(self, *blobs: Row, subject: str | None = None, note: str = "") -> Image:
        """Make an image of these blobs; the first one is its config."""
        made: dict[str, Any] = {"schemaVersion": 2, "mediaType": IMAGE}
        made["config"] = _descriptor(blobs[0].digest, blobs[0].size, CONFIG)
        made["layers"] = [_descriptor(blob.digest, blob.size, LAYER) for blob in blobs[1:]]
        if subject:
            made["subject"] = _descriptor(subject, 1, IMAGE)
        made["annotations"] = {"note": note}
        return Image(json.dumps(made).encode(), blobs, subject=subject)

    def image_of(self, digest: str, size: int, *, note: str = "") -> Image:
        """Make an image of a blob that has no row yet."""
        return self.image(Row(0, digest=digest, size=size), note=note)

    def index(self, *children: Row, note: str = "") -> Image:
        """Make an index of these manifests."""
        made = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [_descriptor(child.digest, 1, IMAGE) for child in children],
            "annotations": {"note": note},
        }
        return Image(json.dumps(made).encode(), children=children)

    def have(self, image: Image, repository: int | None = None) -> Row:
        """Write the rows of the image's manifest."""
        return self.world.manifest(
            repository,
            blobs=sorted(set(image.blobs)),
            children=image.children,
            subject=image.subject,
            content=image.content.decode(),
        )

    def tombstone(self, text: str) -> Row:
        """Store a dead object, which no row references, and write its tombstone, which is due."""
        digest = digest_of(text)
        path = object_path(digest, True, "")
        self.harness.store.objects[path] = text.encode()
        facts = {"digest": digest, "path": path, "location": LOCATION, "size": len(text)}
        return Row(self.world.insert("dredge_tombstone", **facts, created_ms=1, due_ms=1), **facts)

    # ------------------------------------------------------------------------------------- actors

    def collect(self, repository: int | None = None, *, limit: int = LIMIT) -> Callable[[], None]:
        """Run one batch of a repository's collection."""
        where = self.world.repository_id if repository is None else int(repository)

        def work() -> None:
            collect_batch(where, policy=self.policy, limit=limit)

        return work

    def collect_together(self, *repositories: int, limit: int = LIMIT) -> Callable[[], None]:
        """Run one batch of several repositories in one transaction."""
        wanted = [int(repository) for repository in repositories]

        def work() -> None:
            collect_batches(wanted, policy=self.policy, limit=limit)

        return work

    def review(self) -> None:
        """Run one batch of the review."""
        review_batch(policy=self.policy, limit=LIMIT)

    def review_all(self) -> None:
        """Run the review until it has nothing to do: claims and batches."""
        review(self.harness.context, budget_s=BUDGET_S)

    def erase(self) -> None:
        """Run the eraser until it has nothing to do."""
        erase(self.harness.context, budget_s=BUDGET_S)

    def push_blob(
        self, text: str, repository: int | None = None, *, policy: Policy | None = None
    ) -> Callable[[], BlobClaim]:
        """Store a blob by the push protocol."""
        where = self.world.repository_id if repository is None else int(repository)
        digest = digest_of(text)

        def work() -> BlobClaim:
            store_blob(
                self.harness.context.stores,
                where,
                digest,
                lambda: [text.encode()],
                size=len(text),
                policy=policy or self.policy,
                location=LOCATION,
            )
            return BlobClaim(digest)

        return work

    def push_image(
        self, image: Image, repository: int | None = None, *, tag: str | None = None, sparse: bool = False
    ) -> Callable[[], TagClaim | ManifestClaim]:
        """Create a manifest whose blobs exist, and optionally tag it in a second operation."""
        where = self.world.repository_id if repository is None else int(repository)

        def work() -> TagClaim | ManifestClaim:
            create_manifest(
                where, image.content, policy=self.policy, now_ms=now_ms(), allow_missing_children=sparse
            )
            if tag is None:
                return ManifestClaim(where, image.digest)
            registry.create_tag(where, tag, image.digest, policy=self.policy)
            return TagClaim(where, tag, image.digest)

        return work

    def push_all(
        self, texts: Sequence[str], image: Image, tag: str, repository: int | None = None
    ) -> Callable[[], Any]:
        """Run a client's whole push: every blob, then the manifest, then the tag."""

        def work() -> Any:
            for text in texts:
                self.push_blob(text, repository)()
            return self.push_image(image, repository, tag=tag)()

        return work

    def mount(self, digest: str, source: int, target: int, image: Image | None = None) -> Callable[[], Any]:
        """Mount a blob from one repository into another, and push an image there that needs it."""

        def work() -> Any:
            mount_blob(int(source), int(target), digest, policy=self.policy, now_ms=now_ms())
            return BlobClaim(digest) if image is None else self.push_image(image, target)()

        return work

    def unpromised(self, actor: Callable[[], Any]) -> Callable[[], Any]:
        """Return the actor without its promise if a referrer is removed with its dead subject."""
        return lambda: actor() if self.policy.referrers == "pin" else bool(actor())

    def tag(self, name: str, digest: str, repository: int | None = None) -> Callable[[], TagClaim]:
        """Create or move a tag."""
        where = self.world.repository_id if repository is None else int(repository)

        def work() -> TagClaim:
            registry.retarget_tag(where, name, digest, policy=self.policy)
            return TagClaim(where, name, digest)

        return work

    def restore(self, name: str, digest: str) -> Callable[[], TagClaim]:
        """Restore a tag that ended inside its recovery window."""
        where = self.world.repository_id

        def work() -> TagClaim:
            registry.restore_tag(where, name, digest, policy=self.policy)
            return TagClaim(where, name, digest)

        return work

    def delete(self, name: str, *, for_good: str | None = None) -> Callable[[], None]:
        """Delete a tag; `for_good` a digest: permanently."""
        where = self.world.repository_id

        def work() -> None:
            if for_good is None:
                registry.delete_tag(where, name, policy=self.policy)
            else:
                registry.delete_tag_permanently(where, name, for_good, is_alive=True, policy=self.policy)

        return work


def _descriptor(digest: str, size: int | None, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size or 0}


def gone_tag(world: World, manifest: Row, name: str = "gone") -> Row:
    """Make a tag that cannot be restored any more."""
    return world.tag(name, manifest=manifest, ended_ms=LONG_AGO_MS)


__all__ = ["DEFAULT", "Image", "RaceActors", "gone_tag"]
