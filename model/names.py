"""How people write a repository, a tag and a manifest: `namespace/name`, `…:tag`, `…@sha256:…`."""

from __future__ import annotations

import re
from typing import NamedTuple

from model import digest
from model.errors import BadDigest, BadInput

MAX_NAME = 255
_NAMESPACE = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*")
_REPOSITORY = re.compile(r"[A-Za-z0-9]+(?:[._/-]+[A-Za-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class RepositoryName(NamedTuple):
    """A repository: who owns it, and its name there."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class TagName(NamedTuple):
    """A tag of a repository."""

    repository: RepositoryName
    tag: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


class ManifestName(NamedTuple):
    """A manifest (or a blob) of a repository."""

    repository: RepositoryName
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


def parse_repository(text: str) -> RepositoryName:
    """`namespace/name`; the name may hold more slashes.  Raises `BadInput`."""
    namespace, separator, name = _whole(text).partition("/")
    if not separator or not _fits(_NAMESPACE, namespace) or not _fits(_REPOSITORY, name):
        raise BadInput(f"{_shown(text)} is not a repository: write namespace/name")
    return RepositoryName(namespace, name)


def parse_namespace(text: str) -> str:
    """A namespace's name.  Raises `BadInput`."""
    if not _fits(_NAMESPACE, _whole(text)):
        raise BadInput(f"{_shown(text)} is not a namespace: write its name")
    return text


def parse_tag(text: str) -> TagName:
    """`namespace/name:tag`.  Raises `BadInput`."""
    repository, separator, tag = _whole(text).rpartition(":")
    if not separator or "@" in repository or not _TAG.fullmatch(tag):
        raise BadInput(f"{_shown(text)} is not a tag: write namespace/name:tag")
    return TagName(parse_repository(repository), tag)


def parse_manifest(text: str) -> ManifestName:
    """`namespace/name@sha256:…`.  Raises `BadInput`."""
    repository, separator, content = _whole(text).partition("@")
    if not separator:
        raise BadInput(f"{_shown(text)} is not a manifest: write namespace/name@sha256:…")
    return ManifestName(parse_repository(repository), parse_digest(content))


def parse_digest(text: str) -> str:
    """`sha256:` and 64 lower-case hexadecimal digits (or sha512 and 128).  Raises `BadInput`."""
    try:
        return digest.checked(_whole(text))
    except BadDigest:
        what = "write sha256:… with 64 hexadecimal digits"
        raise BadInput(f"{_shown(text)} is not a digest: {what}") from None


def _whole(text: object) -> str:
    if not isinstance(text, str):
        raise BadInput(f"{_shown(text)} is not a name: it must be text")
    return text


def _fits(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= MAX_NAME and pattern.fullmatch(text) is not None


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}…{shown[-1]}"
