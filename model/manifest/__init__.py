"""Manifests of a repository: find them, and create them with everything that they refer to."""

from model.manifest.create import TEMPORARY_PREFIX, Created, create_manifest
from model.manifest.find import FoundManifest, find_manifest, find_referrers

__all__ = [
    "TEMPORARY_PREFIX",
    "Created",
    "FoundManifest",
    "create_manifest",
    "find_manifest",
    "find_referrers",
]
