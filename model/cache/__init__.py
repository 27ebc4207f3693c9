"""The data-model cache: read-through with leases, so that an invalidated value never comes back."""

from __future__ import annotations

from model.cache.backend import Backend, CacheConfig, CacheUnavailable
from model.cache.base import DataModelCache, always, is_not_none
from model.cache.keys import CacheKey
from model.cache.record import OUTCOMES, Outcome, Recorder

__all__ = [
    "OUTCOMES",
    "Backend",
    "CacheConfig",
    "CacheKey",
    "CacheUnavailable",
    "DataModelCache",
    "Outcome",
    "Recorder",
    "always",
    "is_not_none",
]
