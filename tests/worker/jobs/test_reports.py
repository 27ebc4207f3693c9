"""Security reports of dead manifests are deleted at a scanner that answers as Clair v4 does."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest

from model.db.clock import now_ms
from tests.support.pipeline import make_context
from tests.support.servers.http import Handler, serving
from tests.support.world import World, digest_of
from worker.jobs import reports as module
from worker.jobs.reports import DeletedReports, deliver_reports
from worker.quay.clair import ScannerUnavailable
from worker.settings import Settings

KEY = b"a key that two services share, long enough"
PATH = "/indexer/api/v1/index_report/"


@dataclass
class Clair:
    """What was asked, and how it answers: 404 unless the report is there, `broken` for all."""

    url: str = ""
    reports: set[str] = field(default_factory=set)
    broken: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, token: str) -> int:
        self.asked.append((method, path))
        if self.broken:
            return self.broken
        scheme, _, value = token.partition(" ")
        try:
            claims = jwt.decode(value, KEY, algorithms=["HS256"], issuer="quay")
        except jwt.PyJWTError:
            return 401
        if scheme != "Bearer" or not {"iat", "exp"} <= set(claims) or claims["exp"] > time.time() + 3600:
            return 401
        digest = path.removeprefix(PATH)
        if method != "DELETE" or digest not in self.reports:
            return 404
        self.reports.remove(digest)
        return 204


@pytest.fixture
def clair() -> Iterator[Clair]:
    state = Clair()

    class Scanner(Handler):
        protocol_version = "HTTP/1.1"

        def do_DELETE(self) -> None:
            self.answer(state.answer("DELETE", self.path, self.headers.get("Authorization", "")))

    with serving(Scanner) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    """An image that lives and was scanned."""
    world.security(world.tag("bystander").manifest)


def owe(world: World, *digests: str) -> None:
    for digest in digests:
        world.insert("dredge_report_debt", digest=digest, created_ms=1, due_ms=1)


def deliver(
    world: World, clair: Clair, tmp_path: Path, key: bytes = KEY, budget_s: float = 60
) -> DeletedReports:
    settings = Settings(clair_url=clair.url, clair_psk=base64.b64encode(key).decode())
    with world.unchanged():
        return deliver_reports(make_context(tmp_path, settings=settings), budget_s=budget_s)


def debts(world: World) -> list[dict[str, Any]]:
    return [row for _, row in sorted(world.snapshot()["dredge_report_debt"].items())]


def test_an_owed_report_is_deleted_with_a_signed_request(world: World, clair: Clair, tmp_path: Path) -> None:
    dead, other = digest_of("dead"), digest_of("other")
    clair.reports = {dead, other}
    owe(world, dead)
    assert deliver(world, clair, tmp_path) == DeletedReports(deleted=1)
    assert clair.asked == [("DELETE", PATH + dead)] and clair.reports == {other}
    assert not debts(world)


def test_a_report_that_is_not_there_is_paid_too(world: World, clair: Clair, tmp_path: Path) -> None:
    owe(world, digest_of("never scanned"))
    assert deliver(world, clair, tmp_path) == DeletedReports(deleted=1) and not debts(world)


def test_case_29_a_digest_that_another_repository_has_keeps_its_report(
    world: World, clair: Clair, tmp_path: Path
) -> None:
    shared = world.tag("shared", repository=world.repository("other")).manifest.digest
    clair.reports = {shared}
    owe(world, shared)
    assert deliver(world, clair, tmp_path) == DeletedReports(dropped=1)
    assert clair.reports == {shared} and not clair.asked and not debts(world)


def test_a_scanner_that_fails_is_asked_twice_and_again_later(
    world: World, clair: Clair, tmp_path: Path
) -> None:
    clair.broken = 500
    owe(world, *[digest_of(f"dead {n}") for n in range(3)])
    assert deliver(world, clair, tmp_path) == DeletedReports(failed=3)
    assert len(clair.asked) == 2
    assert [row["tries"] for row in debts(world)] == [1, 1, 0]
    for row in debts(world):
        assert "500" in row["last_error"]
        assert 25_000 < row["due_ms"] - now_ms() <= 30_000
    assert deliver(world, clair, tmp_path) == DeletedReports() and len(clair.asked) == 2
    clair.broken = 0
    world.execute("UPDATE dredge_report_debt SET due_ms = 0")
    assert deliver(world, clair, tmp_path) == DeletedReports(deleted=3) and not debts(world)


def test_retries_are_twice_as_far_apart_each_time_up_to_a_day(
    world: World, clair: Clair, tmp_path: Path
) -> None:
    clair.broken = 503
    owe(world, digest_of("dead"))
    waits = []
    for _ in range(13):
        deliver(world, clair, tmp_path)
        waits.append(round((debts(world)[0]["due_ms"] - now_ms()) / 30_000))
        world.execute("UPDATE dredge_report_debt SET due_ms = 0")
    assert waits[:4] == [1, 2, 4, 8] and waits[-1] == 24 * 3600 / 30


def test_case_67_a_report_that_the_scanner_always_refuses_stops_no_other(
    world: World, clair: Clair, tmp_path: Path
) -> None:
    refused, *others = [digest_of(f"dead {n}") for n in range(8)]
    owe(world, refused, *others)
    real = clair.answer
    clair.answer = lambda method, path, token: (  # type: ignore[method-assign]
        500 if path.endswith(refused) else real(method, path, token)
    )
    assert deliver(world, clair, tmp_path) == DeletedReports(deleted=7, failed=1)
    (row,) = debts(world)
    assert (row["digest"], row["tries"]) == (refused, 1) and "500" in row["last_error"]


def test_an_attempt_is_counted_before_the_scanner_is_asked_and_holds_no_row(
    world: World, clair: Clair, tmp_path: Path
) -> None:
    owe(world, digest_of("dead"))
    seen = []

    def look(method: str, path: str, token: str) -> int:
        seen.append(world.value("SELECT tries FROM dredge_report_debt FOR UPDATE NOWAIT"))
        return 204

    clair.answer = look  # type: ignore[method-assign]
    assert deliver(world, clair, tmp_path) == DeletedReports(deleted=1)
    assert seen == [1]


def test_a_wrong_key_is_a_failure_and_visible(world: World, clair: Clair, tmp_path: Path) -> None:
    owe(world, digest_of("dead"))
    assert deliver(world, clair, tmp_path, key=b"another key, that nobody else has at all").failed == 1
    assert "401" in debts(world)[0]["last_error"]


def test_a_key_that_is_not_base64_says_so(world: World, tmp_path: Path) -> None:
    context = make_context(tmp_path, settings=Settings(clair_url="http://127.0.0.1:1", clair_psk="no!"))
    with pytest.raises(ScannerUnavailable, match="base64"):
        deliver_reports(context, budget_s=1)


def test_a_scanner_that_is_away_is_a_failure(world: World, tmp_path: Path) -> None:
    owe(world, digest_of("dead"))
    assert deliver(world, Clair(url="http://127.0.0.1:1"), tmp_path) == DeletedReports(failed=1)
    assert "did not answer" in debts(world)[0]["last_error"]


def test_without_a_scanner_debts_wait(world: World, tmp_path: Path) -> None:
    owe(world, digest_of("dead"))
    assert deliver_reports(make_context(tmp_path), budget_s=1) == DeletedReports() and len(debts(world)) == 1


def test_a_turn_goes_on_until_its_budget_is_used_up(
    world: World, clair: Clair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    owe(world, *[digest_of(f"dead {n}") for n in range(5)])
    assert deliver(world, clair, tmp_path, budget_s=0) == DeletedReports(deleted=2, has_more=True)
    assert deliver(world, clair, tmp_path) == DeletedReports(deleted=3)
    assert not debts(world)
