"""A synthetic registry: made from a seed, with the proportions of real registries, loaded in bulk."""

from __future__ import annotations

from worker.local.sample.fill import Filled, fill
from worker.local.sample.shape import SHAPES, Shape

__all__ = ["SHAPES", "Filled", "Shape", "fill"]
