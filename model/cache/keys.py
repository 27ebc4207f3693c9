"""One builder for each kind of entry: its fixed name, its identity, and the names that invalidate it.

The names are Quay's and cannot change, although some are ambiguous: `a_b`/`c` and `a`/`b_c` have the same
name. So each key also has a `header`, the beginning of the stored JSON, with the schema version, the kind
and every part. A value that does not begin with the header of its key belongs to another key or version,
and counts as a miss.

A family of entries whose names cannot be listed has a *generation*: an entry with a random value, which each
member repeats after its header. Deleting the generation invalidates all members.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote
from typing import NamedTuple

from model.errors import BadInput

SCHEMA_VERSION = 1

REPOSITORY_LOOKUP = "repository_lookup"
REPOSITORY_MANIFEST = "repository_manifest"
ACTIVE_TAGS = "active_tags"
REPOSITORY_BLOB = "repository_blob"
CATALOG_PAGE = "catalog_page"
GEO_RESTRICTIONS = "geo_restrictions"
SECURITY_REPORT = "security_report"
MANIFEST_REFERRERS = "manifest_referrers"
UPSTREAM_TOKEN = "upstream_token"

# Seconds.  For a token of an upstream registry this is the maximum, because a token has its own lifetime.
DEFAULT_TTL_S: dict[str, float] = {
    REPOSITORY_LOOKUP: 120.0,
    REPOSITORY_MANIFEST: 300.0,
    ACTIVE_TAGS: 120.0,
    REPOSITORY_BLOB: 60.0,
    CATALOG_PAGE: 60.0,
    GEO_RESTRICTIONS: 240.0,
    SECURITY_REPORT: 300.0,
    MANIFEST_REFERRERS: 60.0,
    UPSTREAM_TOKEN: 7 * 86_400.0,
}
KINDS = tuple(DEFAULT_TTL_S)

BLOB_VERSIONS = (1, 2)
REPOSITORY_KINDS = ("image", "application")

# Control characters could forge names in logs; braces could move a key to another cluster slot.
_SAFE = re.compile(r"[^\x00-\x1f\x7f{}]{1,1024}").fullmatch
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,128}").fullmatch


class CacheKey(NamedTuple):
    """The name of an entry, its identity, and its family."""

    kind: str
    name: str
    header: bytes
    group: str | None = None
    group_in_name: bool = False

    @property
    def forgets(self) -> tuple[str, ...]:
        """Return the names to delete so that this entry is never served again."""
        if self.kind == REPOSITORY_BLOB and self.header:
            # Only the entry of this repository, because all repositories share the generation.
            stem = self.name[:-1]
            return tuple([f"{stem}{version}" for version in BLOB_VERSIONS])
        return (self.group or self.name,)


def _text(value: str) -> str:
    """Return `value` as a JSON string.  Raises `BadInput` if it cannot be part of a key."""
    try:
        if _SAFE(value):
            return _quote(value)
    except TypeError:
        pass
    raise BadInput("a part of a cache key must be a short text without control characters or braces")


def _number(value: int) -> int:
    if type(value) is int and value >= 0:
        return value
    raise BadInput("a part of a cache key must be a whole number that is not negative")


def _digest(value: str) -> str:
    try:
        if _DIGEST(value):
            return value
    except TypeError:
        pass
    raise BadInput("a part of a cache key must be a digest")


@lru_cache(maxsize=4096, typed=True)
def _owner(namespace: str, repository: str) -> str:
    """Return the namespace and repository for a header.  Cached: a service uses a few of them often."""
    return f"{_text(namespace)},{_text(repository)}"


def repository_lookup(
    namespace: str, repository: str, manifest_ref: str | None = None, kind_filter: str | None = None
) -> CacheKey:
    """A repository by name.  Invalidating one variant deletes all variants of the repository."""
    name = f"repository_lookup_{namespace}_{repository}"
    if manifest_ref:
        name += f"_{manifest_ref}"
    if kind_filter:
        name += f"_{kind_filter}"
    owner = _owner(namespace, repository)
    reference = _text(manifest_ref) if manifest_ref else "null"
    kind = _text(kind_filter) if kind_filter else "null"
    group = f"repository_lookup_gen__{namespace}/{repository}"
    header = f'[{SCHEMA_VERSION},"repository_lookup",{owner},{reference},{kind},'.encode()
    return CacheKey(REPOSITORY_LOOKUP, name, header, group)


def repository_manifest(repository_id: int, digest: str) -> CacheKey:
    """A manifest of a repository by digest."""
    name = f"repository_manifest__{_number(repository_id)}_{_digest(digest)}"
    return CacheKey(
        REPOSITORY_MANIFEST,
        name,
        f'[{SCHEMA_VERSION},"repository_manifest",{repository_id},"{digest}",'.encode(),
    )


def active_tags(repository_id: int, last_tag: str | None = None, limit: int | None = None) -> CacheKey:
    """A page of a repository's active tags.  Its name ends with the generation, once that is known.

    Invalidating one page deletes every page of the repository.
    """
    _number(repository_id)
    group = f"repo_active_tags_gen__{repository_id}"
    last = _text(last_tag) if last_tag else "null"
    size = "null" if limit is None else _number(limit)
    return CacheKey(
        ACTIVE_TAGS,
        f"repo_active_tags__{repository_id}_{last_tag or None}_{limit}_",
        f'[{SCHEMA_VERSION},"active_tags",{repository_id},{last},{size},'.encode(),
        group,
        group_in_name=True,
    )


def repository_blob(namespace: str, repository: str, digest: str, version: int = 2) -> CacheKey:
    """A blob in one repository.  Invalidating it deletes every version of it there."""
    if version not in BLOB_VERSIONS:
        raise BadInput("a blob's version in a cache key must be 1 or 2")
    owner = _owner(namespace, repository)
    return CacheKey(
        REPOSITORY_BLOB,
        f"repo_blob__{namespace}_{repository}_{_digest(digest)}_{version}",
        f'[{SCHEMA_VERSION},"repository_blob",{owner},"{digest}",{version},'.encode(),
        f"repo_blob_gen__{digest}",
    )


def blob_everywhere(digest: str) -> CacheKey:
    """The blob in every repository.  Use it only to invalidate."""
    group = f"repo_blob_gen__{_digest(digest)}"
    return CacheKey(REPOSITORY_BLOB, group, b"", group)


def catalog_page(
    auth_context: str | None = None, start_id: int | None = None, limit: int | None = None
) -> CacheKey:
    """A page of the catalogue as one caller may see it.  Invalidating it deletes all pages."""
    who = _text(auth_context) if auth_context else "null"
    start, size = _number(start_id or 0), _number(limit or 0)
    return CacheKey(
        CATALOG_PAGE,
        f"catalog_page__{auth_context or '(anon)'}_{start}_{size}",
        f'[{SCHEMA_VERSION},"catalog_page",{who},{start},{size},'.encode(),
        "catalog_page_gen",
    )


def geo_restrictions(namespace: str) -> CacheKey:
    """The regions that may not pull from a namespace."""
    header = f'[{SCHEMA_VERSION},"geo_restrictions",{_text(namespace)},'.encode()
    return CacheKey(GEO_RESTRICTIONS, f"geo_restrictions__{namespace}", header)


def security_report(digest: str) -> CacheKey:
    """The scanner's report of a manifest digest."""
    name = f"security_report__{_digest(digest)}"
    return CacheKey(SECURITY_REPORT, name, f'[{SCHEMA_VERSION},"security_report","{digest}",'.encode())


def manifest_referrers(repository_id: int, digest: str, artifact_type: str | None = None) -> CacheKey:
    """The referrers of a manifest.  Invalidating it deletes the lists of every artifact type."""
    name = f"manifest_referrers__{_number(repository_id)}_{_digest(digest)}"
    group = f"manifest_referrers_gen__{repository_id}_{digest}"
    kind = "null"
    if artifact_type:
        kind = _text(artifact_type)
        name += f"_artifact_type_{hashlib.sha256(artifact_type.encode()).hexdigest()}"
    header = f'[{SCHEMA_VERSION},"manifest_referrers",{repository_id},"{digest}",{kind},'.encode()
    return CacheKey(MANIFEST_REFERRERS, name, header, group)


def upstream_token(organization: str, registry: str, repository: str) -> CacheKey:
    """A token for an upstream registry.  The value is a secret."""
    parts = f"{_text(organization)},{_text(registry)},{_text(repository)}"
    if "/" in organization or "/" in registry:
        raise BadInput("an organisation or registry in a cache key must not contain a slash")
    return CacheKey(
        UPSTREAM_TOKEN,
        f"upstream_token__{organization}/{registry}/{repository}",
        f'[{SCHEMA_VERSION},"upstream_token",{parts},'.encode(),
    )
