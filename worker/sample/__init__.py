"""A synthetic registry: seeded, shaped like real ones, loaded in bulk."""

from __future__ import annotations

from worker.sample.fill import Filled, fill
from worker.sample.shape import SHAPES, Shape

__all__ = ["SHAPES", "Filled", "Shape", "fill"]
