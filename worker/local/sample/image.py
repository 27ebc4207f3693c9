"""Images, indexes and their referrers, as manifests of real bytes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from worker.local.sample.content import Content, Piece, sha256
from worker.local.sample.shape import Dice, Shape, Zipf

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYERS = {
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar+gzip",
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
ARTIFACTS = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.in-toto+json",
    "application/spdx+json",
)
PLATFORMS = ("amd64", "arm64", "s390x", "ppc64le", "arm", "riscv64")
_CHAINS, _ROOTS, _STACKS, _MOST_LAYERS = 200, 20, 60, 125


@dataclass(frozen=True)
class Image:
    """One manifest: its bytes and its references."""

    digest: str
    content: str
    media_type: str
    config_media_type: str | None = None
    pieces: tuple[Piece, ...] = ()
    layers_size: int = 0
    subject: str | None = None
    artifact_type: str | None = None
    children: tuple[Image, ...] = ()


class Studio:
    """Builds images from base chains (Zipf), shared stacks, layers of their own and a config."""

    def __init__(self, shape: Shape, dice: Dice, content: Content) -> None:
        self._shape, self._dice, self._content = shape, dice, content
        self._popularity = Zipf(_CHAINS, 1.2)
        self._stack_popularity = Zipf(_STACKS, 1.2)
        self._chains: dict[int, list[Piece]] = {}
        self._lengths: dict[int, int] = {}
        self._roots: dict[int, int] = {}
        self._stacks: dict[int, list[Piece]] = {}
        self._elsewhere: deque[tuple[int, Piece]] = deque(maxlen=500)

    def stack(self) -> int:
        """Return the shared stack of a repository's images."""
        return self._stack_popularity.draw(self._dice)

    def image(self, repository_id: int, stack: int, oci: bool) -> Image:
        """Build an image with a lognormal number of layers: base chain, shared stack, then own layers."""
        config = self._content.config()
        layers = tuple(dict.fromkeys(self._layers(repository_id, stack)))
        media_type, config_type = (OCI_MANIFEST, OCI_CONFIG) if oci else (DOCKER_MANIFEST, DOCKER_CONFIG)
        return _manifest(media_type, config_type, config, layers)

    def index(self, children: Sequence[Image], oci: bool) -> Image:
        """Build a multi-architecture index of some images."""
        media_type = OCI_INDEX if oci else DOCKER_LIST
        listed = [
            _descriptor(child.media_type, child.digest, len(child.content))
            | {"platform": {"architecture": architecture, "os": "linux"}}
            for child, architecture in zip(children, PLATFORMS, strict=False)
        ]
        content = _dump({"schemaVersion": 2, "mediaType": media_type, "manifests": listed})
        return Image(sha256(content.encode()), content, media_type, children=tuple(children))

    def referrer(self, subject: Image) -> Image:
        """Build a signature, attestation or bill of materials with a subject."""
        return _manifest(
            OCI_MANIFEST,
            OCI_EMPTY,
            self._content.empty_config(),
            (self._content.signature(),),
            subject=subject,
            artifact_type=self._dice.choice(ARTIFACTS),
        )

    def cosign(self) -> Image:
        """Build a signature of the older style: a manifest linked to its image only by its tag's name."""
        return _manifest(OCI_MANIFEST, OCI_CONFIG, self._content.config(), (self._content.signature(),))

    def _layers(self, repository_id: int, stack: int) -> list[Piece]:
        dice = self._dice
        if self._shape.own_layers:
            return self._layers_of_repository(self._stacks.setdefault(repository_id, []))
        wanted = dice.lognormal(self._shape.layers_median, self._shape.layers_p90)
        count = min(max(round(wanted), 1), _MOST_LAYERS)
        layers: list[Piece] = []
        if count > 1:
            layers += self._own_layers(repository_id, min(count - 1, 3))
        if count > 2 and dice.chance(0.55):
            layers.append(self._content.empty_layer())
        base = self._base(self._popularity.draw(dice), count - len(layers))
        rest = self._grown(self._stacks.setdefault(stack, []), count - len(layers) - len(base))
        return [*base, *rest, *layers]

    def _layers_of_repository(self, pool: list[Piece]) -> list[Piece]:
        """Return own layers, and shared ones of which every fourth is new, so each has four references."""
        dice, own = self._dice, self._shape.own_layers
        layers = [self._content.layer() for _ in range(own)]
        for _ in range(dice.randint(8, 12) - own):
            piece = dice.choice(pool) if pool and dice.chance(0.75) else None
            if piece is None or piece in layers:
                piece = self._content.layer()
                pool.append(piece)
            layers.append(piece)
        return layers

    def _own_layers(self, repository_id: int, most: int) -> list[Piece]:
        """Return new layers of this build, or one mounted from another repository."""
        dice = self._dice
        if dice.chance(self._shape.mounted) and self._elsewhere:
            home, mounted = dice.choice(self._elsewhere)
            if home != repository_id:
                return [mounted]
        made = [self._content.layer() for _ in range(min(dice.count(0.36), most))]
        self._elsewhere.extend((repository_id, piece) for piece in made)
        return made

    def _base(self, rank: int, most: int) -> list[Piece]:
        """Return a base image's layers, at most `most`; less popular bases extend one of the popular roots.

        A layer is made when an image first needs it, so every layer has a reference.
        """
        if rank not in self._lengths:
            self._lengths[rank] = min(max(round(self._dice.lognormal(5, 10)), 1), 25)
            self._roots[rank] = self._dice.randrange(_ROOTS)
        length = min(self._lengths[rank], most)
        rooted = self._base(self._roots[rank], min(length, 2)) if rank >= _ROOTS else []
        return [*rooted, *self._grown(self._chains.setdefault(rank, []), length - len(rooted))]

    def _grown(self, pieces: list[Piece], length: int) -> list[Piece]:
        while len(pieces) < length:
            pieces.append(self._content.layer())
        return pieces[:length]


def _manifest(
    media_type: str,
    config_type: str,
    config: Piece,
    layers: tuple[Piece, ...],
    subject: Image | None = None,
    artifact_type: str | None = None,
) -> Image:
    body: dict[str, object] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        body["artifactType"] = artifact_type
    body["config"] = _descriptor(config_type, config.digest, config.size)
    body["layers"] = [_descriptor(artifact_type or _LAYERS[media_type], p.digest, p.size) for p in layers]
    if subject:
        body["subject"] = _descriptor(subject.media_type, subject.digest, len(subject.content))
    content = _dump(body)
    return Image(
        sha256(content.encode()),
        content,
        media_type,
        config_type,
        (config, *layers),
        sum(piece.size for piece in layers),
        subject.digest if subject else None,
        artifact_type,
    )


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _dump(body: dict[str, object]) -> str:
    return json.dumps(body, separators=(",", ":"))
