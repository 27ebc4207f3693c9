"""Check the arguments of callers before the first statement.  A wrong argument raises `BadInput`."""

from __future__ import annotations

import re
from typing import TypeAlias

from model import repository as repositories
from model.errors import BadInput, NoSuchRepository
from model.names import parse_digest, parse_repository
from model.repository import Repository

# A repository is given by its id or as `namespace/name`, a manifest by its id or digest.
RepositoryRef: TypeAlias = int | str
ManifestRef: TypeAlias = int | str

MAX_ID = 2**31 - 1
MAX_PAGE = 1000
MAX_MS = 2**53
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def find_repository(ref: RepositoryRef) -> Repository:
    """Return the repository of that id or name.  Raises `NoSuchRepository` or `BadInput`."""
    if isinstance(ref, str):
        namespace, name = parse_repository(ref)
        found = repositories.by_name(namespace, name)
    else:
        found = repositories.by_id(checked_id(ref, "repository"))
    if found is None:
        raise NoSuchRepository(repository=ref)
    return found


def checked_id(value: object, what: str) -> int:
    """Return a positive id that fits its column."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_ID:
        raise BadInput(f"The {what}'s id must be a whole number from 1 to {MAX_ID}", got=_shown(value))
    return value


def checked_name(value: object) -> str:
    """Return a tag's name that the OCI distribution specification allows."""
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise BadInput(
            "A tag's name has 1 to 128 letters, digits, dots, hyphens and underscores,"
            " and begins with neither a dot nor a hyphen",
            got=_shown(value),
        )
    return value


def checked_digest(value: object) -> str:
    """Return a digest in canonical form."""
    return parse_digest(value)  # type: ignore[arg-type]  # it refuses what is not text


def checked_manifest(value: ManifestRef) -> ManifestRef:
    """Return a manifest's id or digest."""
    return checked_digest(value) if isinstance(value, str) else checked_id(value, "manifest")


def checked_time(value: object, *, after_ms: int | None = None) -> int | None:
    """Return milliseconds since the epoch, after `after_ms` if given; None stays None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MS:
        raise BadInput("A time is a whole number of milliseconds since 1970", got=_shown(value))
    if after_ms is not None and value <= after_ms:
        raise BadInput("The expiry must lie in the future", expires_ms=value, now_ms=after_ms)
    return value


def checked_position(value: object) -> tuple[int, int]:
    """Return where a page of the history begins: a start in milliseconds, and an id."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadInput("A page of the history begins at the `next` of the page before", got=_shown(value))
    start_ms = checked_time(value[0])
    if start_ms is None:
        raise BadInput("A page of the history begins at the `next` of the page before", got=_shown(value))
    return start_ms, checked_id(value[1], "last tag")


def checked_limit(value: object) -> int:
    """Return how many items a page may have."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PAGE:
        raise BadInput(f"A page holds 1 to {MAX_PAGE} entries", got=_shown(value))
    return value


def checked_flag(value: object, what: str) -> bool:
    """Return True or False; values that are only truthy are refused."""
    if not isinstance(value, bool):
        raise BadInput(f"{what} must be true or false", got=_shown(value))
    return value


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "…"
