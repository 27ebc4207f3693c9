"""Units.  A unit is the result of one push: an image, or an index with its children, and its signatures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from worker.local.sample.image import Image, Studio
from worker.local.sample.shape import Dice, Shape

_SIGNED_BY_TAG = 1 / 3
_COUNTERSIGNED = 0.1


class Fate(Enum):
    """The state of a unit's tags."""

    ALIVE = "alive"
    RECOVERABLE = "recoverable"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Unit:
    """Manifests that are used or dead together; `cosign` is linked to `top` only by a tag's name."""

    top: Image
    referrers: tuple[Image, ...] = ()
    cosign: Image | None = None

    @property
    def manifests(self) -> tuple[Image, ...]:
        """Return all manifests, each after its references."""
        signed = (self.cosign,) if self.cosign else ()
        return (*self.top.children, self.top, *self.referrers, *signed)


class Composer:
    """Draws units with the shares of multi-architecture and signed images."""

    def __init__(self, shape: Shape, dice: Dice, studio: Studio) -> None:
        self._shape, self._dice, self._studio = shape, dice, studio

    def fate(self, window_s: int) -> Fate:
        """Return a random state: expired with the shape's share, else alive or deleted and restorable."""
        if self._dice.chance(self._shape.expired):
            return Fate.EXPIRED
        return Fate.RECOVERABLE if window_s and self._dice.chance(0.15) else Fate.ALIVE

    def unit(self, repository_id: int, stack: int, most: int) -> Unit:
        """Make a unit of at most `most` manifests."""
        dice, shape, studio = self._dice, self._shape, self._studio
        oci = dice.chance(0.6)
        children = dice.choice((2, 2, 3, 4, 5, 6)) if dice.chance(shape.multi_arch) else 0
        children = children if children < most else 0
        images = [studio.image(repository_id, stack, oci) for _ in range(children or 1)]
        top = studio.index(images, oci) if children else images[0]
        room = most - (children + 1)
        if room < 1 or not dice.chance(shape.signed):
            return Unit(top)
        if dice.chance(_SIGNED_BY_TAG):
            return Unit(top, cosign=studio.cosign())
        return Unit(top, referrers=self._referrers(top, min(dice.choice((1, 1, 2, 3)), room)))

    def _referrers(self, top: Image, count: int) -> tuple[Image, ...]:
        found: list[Image] = []
        for _ in range(count):
            countersigned = found and self._dice.chance(_COUNTERSIGNED)
            found.append(self._studio.referrer(found[-1] if countersigned else top))
        return tuple(found)
