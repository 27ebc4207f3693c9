"""The OpenAPI document: kept with the documentation, and true of the server whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis.strategies import one_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.support.databases import Databases
from tests.support.pages import OPENAPI, openapi
from tests.support.world import World
from tests.worker.web.conftest import TOKENS
from tests.worker.web.filled import fill
from worker import wiring
from worker.api_token import make_token
from worker.settings import Settings
from worker.web.app import build

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
]
OPERATIONS = [
    (path, method)
    for path, methods in yaml.load(OPENAPI.read_text(), Loader=yaml.CSafeLoader)["paths"].items()
    for method in methods
]
_SECRET, _TOKEN = make_token("all", ["read", "operate", "delete"])


def test_the_document_is_what_the_server_says() -> None:
    assert OPENAPI.read_text() == openapi(), "run `make docs`"


def test_every_operation_asks_for_a_token_and_names_its_problems() -> None:
    document = yaml.safe_load(OPENAPI.read_text())
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len(operations) >= 20
    assert [each["operationId"] for each in operations if each.get("security") != [{"token": []}]] == []
    assert [each["operationId"] for each in operations if "403" not in each["responses"]] == []


@pytest.fixture(scope="module")
def app(databases: Databases) -> Iterator[FastAPI]:
    """The application on a full registry of its own."""
    with databases.clone() as url:
        world = World(url)
        fill(world)
        yield build(wiring.in_process(Settings(database_url=url, web_tokens=(*TOKENS, _TOKEN))))
        world.close()


@pytest.fixture(scope="module")
def schema(app: FastAPI) -> BaseSchema:
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_server_does_what_the_document_says(schema: BaseSchema, path: str, method: str) -> None:
    strategies = [schema[path][method.upper()].as_strategy(generation_mode=mode) for mode in GenerationMode]

    @examples(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of(strategies))
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {_SECRET}"}, checks=CHECKS)

    ask()
