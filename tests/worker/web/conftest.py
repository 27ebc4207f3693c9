"""The application in this process, on the world's database, with a token for each scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.world import World
from worker import wiring
from worker.api_token import SCOPES, Scope, make_token
from worker.settings import Settings
from worker.web.app import build

_MADE = {scope: make_token(scope, [scope]) for scope in SCOPES}
TOKENS = tuple(token for _, token in _MADE.values())


def bearer(scope: Scope) -> dict[str, str]:
    """The header of the token with that scope alone."""
    return {"Authorization": f"Bearer {_MADE[scope][0]}"}


def secret(scope: Scope) -> str:
    """The token itself."""
    return _MADE[scope][0]


@pytest.fixture
def settings(world: World) -> Settings:
    return Settings(database_url=world.url, web_tokens=TOKENS)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Speaks to the application over a connection that a browser would take for encrypted."""
    with TestClient(build(wiring.in_process(settings)), base_url="https://testserver") as made:
        yield made


Call = Callable[..., Any]


@pytest.fixture
def call(client: TestClient) -> Call:
    """`call("read", "GET", "/api/v1/status")`: the response to the token of that scope."""

    def send(scope: Scope, method: str, path: str, **options: Any) -> Any:
        return client.request(method, path, headers=bearer(scope), **options)

    return send


@pytest.fixture
def without_tokens(settings: Settings) -> Iterator[TestClient]:
    """The application as it is without a token: on loopback, read-only."""
    context = wiring.in_process(replace(settings, web_tokens=()))
    with TestClient(build(context), base_url="http://127.0.0.1") as made:
        yield made
