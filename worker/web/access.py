"""Authorise callers of the API by bearer tokens, and limit wrong tokens."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from worker.api_token import ApiToken, Scope, find_token

WRONG_TOKENS = 20
WRONG_TOKENS_S = 60.0
# Maximum addresses that are remembered; the oldest are dropped first.
ADDRESSES = 10_000

BEARER = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token that `dredge web token` has made."
)


@dataclass(frozen=True)
class Caller:
    """The caller of a request: the name that is recorded with its changes, and its scopes."""

    name: str
    scopes: frozenset[Scope]


ANYBODY = Caller("anybody", frozenset({"read"}))


class WrongTokens:
    """Counts wrong tokens by address; after 20 in a minute, further tokens are refused unread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return how many seconds the address must wait, or 0."""
        with self._lock:
            recent = [at for at in self._seen.get(address, []) if at > self._clock() - WRONG_TOKENS_S]
            return 0.0 if len(recent) < WRONG_TOKENS else recent[0] + WRONG_TOKENS_S - self._clock()

    def add(self, address: str) -> None:
        """Count one more wrong token of the address."""
        with self._lock:
            kept = self._seen.pop(address, [])[-(WRONG_TOKENS - 1) :]
            self._seen[address] = [*kept, self._clock()]
            while len(self._seen) > ADDRESSES:
                self._seen.popitem(last=False)


class Access:
    """The tokens of this process.  Without tokens, everybody who reaches the port may read, but not write."""

    def __init__(self, tokens: Sequence[ApiToken]) -> None:
        self.tokens = tuple(tokens)
        self._wrong = WrongTokens()

    def identify(self, address: str, secret: str | None) -> Caller:
        """Return the caller of a request.  Raises `HTTPException` 401 or 429."""
        if not self.tokens:
            return ANYBODY
        if secret is None:
            raise HTTPException(401, "Send a token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
        wait_s = self._wrong.wait_s(address)
        if wait_s:
            raise HTTPException(
                429, "Too many wrong tokens: wait a minute", {"Retry-After": str(int(wait_s) + 1)}
            )
        token = find_token(self.tokens, secret)
        if token is None:
            self._wrong.add(address)
            raise HTTPException(
                401, "The token is unknown", {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return Caller(token.name, token.scopes)


def address_of(request: Request) -> str:
    """Return the address from which the server received the request."""
    return request.client.host if request.client else ""


def needs(scope: Scope) -> Any:
    """Return a dependency that yields the caller, or answers 401 or 403 if it lacks this scope."""

    def check(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None,
    ) -> Caller:
        access: Access = request.app.state.access
        caller = access.identify(address_of(request), credentials.credentials if credentials else None)
        if scope not in caller.scopes:
            raise HTTPException(403, missing(access, scope))
        return caller

    return Security(check)


def missing(access: Access, scope: Scope) -> str:
    """Return why the scope is missing, and what to do."""
    if not access.tokens:
        return "No token is configured, so nothing can be changed: set DREDGE_WEB_TOKENS"
    return f"The token lacks the scope {scope}"
