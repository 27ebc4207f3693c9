"""Sessions of the status page: a signed cookie, and a token against forged forms derived from it."""

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

# The prefix has browsers refuse the cookie from any other host, and without encryption.
COOKIE = "__Host-dredge"
LIFE_S = 8 * 3600


@dataclass(frozen=True)
class Session:
    """Who looks at the page, and the token that this one's forms carry."""

    caller: Caller
    form_token: str


class Sessions:
    """Signs with a key of this process: sessions end when it does, and with their token."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def begin(self, name: str) -> str:
        """Return the value of a new session's cookie, for the token of that name."""
        token = next(each for each in self._access.tokens if each.name == name)
        facts = {"name": name, "until": int(self._clock()) + LIFE_S, "salt": secrets.token_hex(8)}
        body = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()
        return f"{body}.{self._sign('session', body, token.hash)}"

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None where it is missing, forged or over, or its token was taken away.

        Without tokens everybody has one that may read.
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
    """Return whether a form was sent by one of our own pages, as far as the browser says."""
    if fetch_site is not None and fetch_site != "same-origin":
        return False
    return origin is None or urlsplit(origin).netloc == host
