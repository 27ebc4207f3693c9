"""Sessions of the status page: a signed cookie, and a token derived from it against forged forms."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from worker.api_token import ApiToken
from worker.web.access import ANYBODY, Access, Caller

# With this prefix browsers refuse the cookie from any other host, and without encryption.
COOKIE = "__Host-dredge"
LIFE_S = 8 * 3600


@dataclass(frozen=True)
class Session:
    """The viewer of a page, and the token in the forms of this session."""

    caller: Caller
    form_token: str


class Sessions:
    """Signs sessions with a key of this process.  A session ends with the process, or with its token."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def begin(self, name: str) -> str:
        """Return the cookie's value for a new session of the token with this name."""
        token = next(each for each in self._access.tokens if each.name == name)
        facts = {"name": name, "until": int(self._clock()) + LIFE_S, "salt": secrets.token_hex(8)}
        body = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()
        return f"{body}.{self._sign('session', body, token.hash)}"

    def find(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie, or None if it is missing, forged, expired or its token was removed.

        Without configured tokens everybody has a session that may read.
        """
        if not self._access.tokens:
            return Session(ANYBODY, "")
        body, _, signature = (cookie or "").partition(".")
        try:
            facts = json.loads(base64.urlsafe_b64decode(body))
            token = self._token(str(facts["name"]))
            until = int(facts["until"])
        except (ValueError, TypeError, KeyError):
            return None
        if token is None or not hmac.compare_digest(signature, self._sign("session", body, token.hash)):
            return None
        if until <= self._clock():
            return None
        return Session(Caller(token.name, token.scopes), self._sign("form", body, token.hash))

    def _token(self, name: str) -> ApiToken | None:
        return next((each for each in self._access.tokens if each.name == name), None)

    def _sign(self, purpose: str, body: str, hash: str) -> str:
        return hmac.new(self._key, f"{purpose}.{body}.{hash}".encode(), sha256).hexdigest()


def is_same_origin(origin: str | None, fetch_site: str | None, host: str) -> bool:
    """Return whether one of our own pages sent a form, according to the browser's headers."""
    if fetch_site is not None and fetch_site != "same-origin":
        return False
    return origin is None or urlsplit(origin).netloc == host
