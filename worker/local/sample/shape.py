"""The shape of a sample registry: its sizes, rates and distributions."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

# The beginning of the names of all samples' namespaces.
SAMPLES = "sample"
DAY_S = 86_400
_Z90 = 1.2815515655446004


@dataclass(frozen=True)
class Shape:
    """The shape of a registry.  The defaults follow published crawls and collection logs.

    docs/explanation/performance.md names them.

    `tags` is the number of visible tag rows, or None for about 1.3 per image; `expired` is the share of them
    beyond their recovery window.  `objects` is `none` to write only rows, with realistic sizes, or `small` to
    also write every object, 65,536 times smaller and with content that has its digest.  `own_layers` is how
    many of an image's 8 to 12 layers no other image has; the others occur a few times in its repository.
    With 0, many images share base images.
    """

    manifests: int = 10_000
    repositories: int = 250
    tags: int | None = None
    seed: int = 1
    expired: float = 0.5
    windows_s: tuple[int, ...] = (0, DAY_S, 14 * DAY_S)
    objects: Literal["none", "small"] = "none"
    multi_arch: float = 0.20
    signed: float = 0.15
    aborted: float = 0.05
    mounted: float = 0.03
    promoted: float = 0.20
    labels: float = 2.0
    layers_median: float = 8.0
    layers_p90: float = 18.0
    own_layers: int = 0
    extras: bool = True

    @property
    def prefix(self) -> str:
        """Return the beginning of the names of this sample's namespaces."""
        return f"{SAMPLES}{self.seed}-"


def registry(manifests: int = 10_000) -> Shape:
    """Return the ordinary registry, with about 40 manifests per repository, heavy-tailed."""
    return Shape(manifests=manifests, repositories=max(1, manifests // 40))


_PLAIN = Shape(
    multi_arch=0.0, signed=0.0, aborted=0.0, mounted=0.0, promoted=0.0, windows_s=(0,), extras=False
)

SHAPES: dict[str, Shape] = {
    "registry": registry(),
    # One repository with 20,000 tags.
    "tags": Shape(manifests=10_000, repositories=1, tags=20_000, windows_s=(14 * DAY_S,)),
    # One giant repository, all of it garbage.
    "giant": replace(_PLAIN, manifests=200_000, repositories=1, tags=1_000_000, expired=1.0),
    # Half of all layers are in one image only: about three dead blobs for each dead manifest.
    "unique": replace(
        _PLAIN, manifests=10_000, repositories=205, windows_s=(0, DAY_S, 14 * DAY_S), own_layers=1
    ),
    # Very many small repositories.
    "wide": replace(
        _PLAIN,
        manifests=1_000_000,
        repositories=1_000_000,
        tags=10_000_000,
        expired=0.02,
        windows_s=(0, DAY_S, 14 * DAY_S),
        labels=0.0,
        layers_median=1.0,
        layers_p90=1.0,
    ),
}


class Dice(random.Random):
    """Random numbers with the distributions of real registries."""

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def lognormal(self, median: float, p90: float) -> float:
        """Return a lognormal number with this median and this 90th percentile."""
        return median * math.exp(self.gauss(0.0, 1.0) * math.log(p90 / median) / _Z90)

    def count(self, mean: float) -> int:
        """Return a small whole number with this mean (Poisson)."""
        limit, product, drawn = math.exp(-mean), self.random(), 0
        while product > limit:
            product *= self.random()
            drawn += 1
        return drawn

    def name(self) -> str:
        """Return a random UUID as text."""
        digits = f"{self.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class Zipf:
    """Ranks 0 … n-1 with weights 1 / rank^s."""

    def __init__(self, n: int, s: float) -> None:
        self._cumulative = list(itertools.accumulate(1 / rank**s for rank in range(1, n + 1)))

    def draw(self, dice: Dice) -> int:
        return bisect(self._cumulative, dice.random() * self._cumulative[-1])


def shares(dice: Dice, total: int, parts: int, alpha: float, least: int) -> Sequence[int]:
    """Divide `total` into heavy-tailed parts (Pareto), each at least `least` if the total allows."""
    least = least if total >= least * parts else 0
    free = total - least * parts
    weights = [min(dice.paretovariate(alpha), 50.0 * parts**0.5) for _ in range(parts)]
    scale = free / sum(weights)
    edges = [round(edge * scale) for edge in itertools.accumulate(weights)]
    return [least + high - low for low, high in zip([0, *edges], edges, strict=False)]
