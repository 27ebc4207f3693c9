"""Tag names that are semantic versions, and their order (https://semver.org)."""

from __future__ import annotations

import re
from typing import TypeAlias

_VERSION = re.compile(
    r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:_.*)?"
)

Identifier: TypeAlias = tuple[int, int, str]
Version: TypeAlias = tuple[int, int, int, int, tuple[Identifier, ...]]


def parse_version(name: str) -> Version | None:
    """Read `1.2.3`, `v1.2` or `1.2.3-rc.1` into a sort key; None for every other name.

    A tag cannot have the `+` of build metadata.  Registries write `_` instead; both are ignored.
    """
    parts = _VERSION.fullmatch(name)
    if parts is None:
        return None
    major, minor, patch, pre = parts.groups()
    identifiers = tuple(map(_identifier, pre.split("."))) if pre else ()
    # A version without a pre-release is newer than every pre-release of it.
    return (int(major), int(minor), int(patch or 0), 0 if pre else 1, identifiers)


def _identifier(text: str) -> Identifier:
    """Return a sort key: numbers come before words and sort by value."""
    return (0, int(text), "") if text.isascii() and text.isdigit() else (1, 0, text)
