"""The rows of one repository: manifests with their dependent rows, uploads and quota."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from model.db.bulk_load import Loader, LookupRows, take_ids
from worker.local.sample.content import Piece
from worker.local.sample.image import Image
from worker.local.sample.shape import Dice, Shape

HOUR_MS = 3_600_000
_LABELS = ("org.opencontainers.image.source", "org.opencontainers.image.revision", "maintainer", "version")


def timestamp(ms: int) -> str:
    """Return the text of a `timestamp` column."""
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")


@dataclass
class Repository:
    """The state of the repository that the generator fills."""

    id: int
    name: str
    window_s: int
    stack: int
    notification_id: int | None = None
    manifests: dict[str, int] = field(default_factory=dict)
    blobs: dict[int, int] = field(default_factory=dict)
    tags: int = 0
    has_latest: bool = False
    spent_ends: set[int] = field(default_factory=set)


class Rows:
    """Adds the rows of manifests, uploads and quotas to the loader."""

    def __init__(self, shape: Shape, dice: Dice, loader: Loader, lookups: LookupRows, now_ms: int) -> None:
        self._shape, self._dice, self._rows, self._lookups = shape, dice, loader.rows, lookups
        self._now_ms = now_ms
        self._manifest_ids, self._label_ids = take_ids("manifest"), take_ids("label")

    def manifest(self, repository: Repository, image: Image) -> int:
        """Add a manifest with its children, blobs, labels and statistics, once per repository and digest."""
        if image.digest in repository.manifests:
            return repository.manifests[image.digest]
        id = repository.manifests[image.digest] = next(self._manifest_ids)
        self._rows["manifest"].append(
            (
                id,
                repository.id,
                image.digest,
                self._lookups["mediatype", image.media_type],
                image.content,
                image.config_media_type,
                image.layers_size,
                image.subject,
                True,
                image.artifact_type,
                True,
            )
        )
        for child in image.children:
            child_id = repository.manifests[child.digest]
            self._rows["manifestchild"].append((repository.id, id, child_id))
        for piece in image.pieces:
            self._rows["manifestblob"].append((repository.id, id, piece.id))
            repository.blobs[piece.id] = piece.size
        self._labels(repository, id)
        if self._shape.extras:
            self._statistics(repository, id, image)
        return id

    def _labels(self, repository: Repository, manifest_id: int) -> None:
        for key in _LABELS[: self._dice.count(self._shape.labels)]:
            label_id = next(self._label_ids)
            kind, source = (
                self._lookups["mediatype", "text/plain"],
                self._lookups["labelsourcetype", "manifest"],
            )
            name = self._dice.name()
            self._rows["label"].append((label_id, name, key, f"value {name[:8]}", kind, source))
            self._rows["manifestlabel"].append((repository.id, manifest_id, label_id))

    def _statistics(self, repository: Repository, manifest_id: int, image: Image) -> None:
        when = timestamp(self._now_ms - self._dice.randrange(60 * 24) * HOUR_MS)
        if image.pieces and image.subject is None and self._dice.chance(0.8):
            status = 2 if self._dice.chance(0.95) else self._dice.choice((-2, -1, 0))
            self._rows["manifestsecuritystatus"].append(
                (manifest_id, repository.id, status, "{}", when, "9f86d081884c7d65", 4, "{}")
            )
        if self._dice.chance(0.6):
            pulls = int(self._dice.lognormal(12, 400))
            self._rows["manifestpullstatistics"].append((repository.id, image.digest, pulls, when))

    def upload_marker(self, repository: Repository, piece: Piece, *, expired: bool) -> None:
        """Add a push's hold on a blob for one hour."""
        age = (
            self._dice.randrange(2, 24 * 30) * HOUR_MS if expired else -HOUR_MS * self._dice.randrange(6, 24)
        )
        start = self._now_ms - age - HOUR_MS
        self._rows["uploadedblob"].append(
            (repository.id, piece.id, timestamp(min(start, self._now_ms)), timestamp(start + HOUR_MS))
        )

    def unfinished_upload(self, repository: Repository, location_id: int) -> None:
        """Add an unfinished upload; two thirds of them are older than 48 hours."""
        age = self._dice.choice((1, 60, 24 * 20)) * HOUR_MS
        self._rows["blobupload"].append(
            (
                repository.id,
                self._dice.name(),
                self._dice.randrange(1, 50_000_000),
                location_id,
                "{}",
                1,
                timestamp(self._now_ms - age),
            )
        )

    def quota(self, table: str, owner_id: int, blobs: dict[int, int]) -> None:
        """Add a quota row with the exact bytes of distinct blobs."""
        self._rows[table].append((owner_id, sum(blobs.values()), 0, True))
