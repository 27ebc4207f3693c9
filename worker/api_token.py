"""Tokens of the HTTP API: their scopes, and their storage as hashes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Scope = Literal["read", "operate", "delete"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_NAME = r"[A-Za-z0-9._-]{1,64}"
_LINE = re.compile(rf"({_NAME}):([a-z+]+):([0-9a-f]{{64}})")


@dataclass(frozen=True)
class ApiToken:
    """A token: its owner's name, its scopes, and the hash of its text."""

    name: str
    scopes: frozenset[Scope]
    hash: str = field(repr=False)

    def __str__(self) -> str:
        """Return the line that `parse_tokens` reads."""
        return f"{self.name}:{'+'.join(scope for scope in SCOPES if scope in self.scopes)}:{self.hash}"


def make_token(name: str, scopes: Sequence[Scope]) -> tuple[str, ApiToken]:
    """Make a token.  Returns its text, which is not stored, and the entry to store.  Raises `ValueError`."""
    if not re.fullmatch(_NAME, name):
        raise ValueError("a token's name must have 1 to 64 letters, digits, dots, hyphens and underscores")
    secret = "dredge_" + secrets.token_urlsafe(32)
    return secret, ApiToken(name, frozenset(scopes), hash_of(secret))


def hash_of(secret: str) -> str:
    """Return the SHA-256 hash of a token.  A slow hash is not needed: a token has 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find_token(tokens: Sequence[ApiToken], secret: str) -> ApiToken | None:
    """Return the token with this text, or None.  Takes the same time for every text."""
    wanted, found = hash_of(secret), None
    for token in tokens:
        if hmac.compare_digest(token.hash, wanted):
            found = token
    return found


def parse_tokens(raw: str) -> tuple[ApiToken, ...]:
    """Parse `name:scope+scope:hash` entries, one per line or separated by commas; `#` begins a comment.

    Raises `ValueError` without the text, which may be a token.
    """
    found: dict[str, ApiToken] = {}
    lines = [line.partition("#")[0] for line in raw.splitlines()]
    for number, part in enumerate(filter(None, (p.strip() for p in ",".join(lines).split(","))), 1):
        parts = _LINE.fullmatch(part)
        if parts is None:
            raise ValueError(f"entry {number} is not name:scope+scope:hash; see dredge web token")
        scopes = [scope for scope in SCOPES if scope in parts[2].split("+")]
        if len(scopes) != len(parts[2].split("+")):
            raise ValueError(f"entry {number} must have scopes of {', '.join(SCOPES)}")
        if parts[1] in found:
            raise ValueError(f"entry {number}: the name {parts[1]} is given twice")
        found[parts[1]] = ApiToken(parts[1], frozenset(scopes), parts[3])
    return tuple(found.values())
