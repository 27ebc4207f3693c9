"""Planted bugs that no interleaving shows: each is found by the fast test that is named with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model import blob
from model.db import session
from model.db.connection import BigIntArray, fetch
from tests.model.db import test_session
from tests.support.eraser import EraserFixture
from tests.support.world import World
from tests.worker.jobs import test_erase, test_quarantine, test_quay_lock
from worker.jobs import erase, erase_outcome
from worker.quay.quay_lock import QuayLocks


class _ShortLeases(QuayLocks):
    def __init__(self, url: str, *, lease_ms: int) -> None:
        super().__init__(url, lease_ms=3_000)


def _settle_for_everybody(token: int, ids: Any) -> frozenset[int]:
    rows = fetch("DELETE FROM dredge_tombstone WHERE id = ANY(%s) RETURNING id", (BigIntArray(ids),))
    return frozenset(row.id for row in rows)


def _believe(self: QuayLocks, tombstones: Any) -> tuple[list[Any], list[Any]]:
    return list(tombstones), []


@dataclass(frozen=True)
class Named:
    """What is wrong, in which place, with what instead, and the test that fails then."""

    wrong: str
    place: Any
    name: str
    instead: Any
    test: Callable[..., None]
    arguments: tuple[str, ...] = ()


MUTANTS = (
    Named(
        "leases of Quay's lock end before the fence, and nothing renews them",
        erase, "QuayLocks", _ShortLeases,
        test_quay_lock.test_the_lease_of_the_lock_is_as_long_as_a_request_may_take,
    ),
    Named(
        "nobody asks whether Quay's Redis still knows the lock",
        QuayLocks, "verify", _believe,
        test_quay_lock.test_case_59_a_redis_that_was_flushed_after_the_lock_stops_the_request,
    ),
    Named(
        "Quay's lock is not taken",
        erase, "_lock_with_quay", lambda locks, doomed, outcome: doomed,
        test_quay_lock.test_an_object_whose_lock_quay_holds_is_postponed_and_the_others_go,
    ),
    Named(
        "an eraser settles what another has claimed since",
        erase_outcome, "settle_tombstones", _settle_for_everybody,
        test_erase.test_case_38_an_eraser_that_was_replaced_settles_nothing,
    ),
    Named(
        "transactions do not choose their isolation level",
        session, "ISOLATION", "REPEATABLE READ",
        test_session.test_case_61_the_last_look_sees_a_push_that_has_just_committed, ("repeatable read",),
    ),
    Named(
        "a frozen transaction holds its locks for ever",
        session, "OWNED", session.OWNED | {"idle_in_transaction_session_timeout": "0"},
        test_session.test_every_wait_of_a_session_has_an_end, ("idle_in_transaction_session_timeout",),
    ),
    Named(
        "nobody asks a store who it is",
        erase, "verify_location", lambda stores, location: "",
        test_quarantine.test_case_62_at_the_wrong_storage_nothing_is_settled_until_the_right_one_is_back,
        ("empty",),
    ),
)  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=[each.wrong for each in MUTANTS])
def test_a_planted_bug_is_found_by_the_named_test(
    mutant: Named,
    world: World,
    valkey: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blob, "PATIENCE_S", 0)
    eraser = EraserFixture(world, tmp_path / "objects")
    known = {"eraser": eraser, "world": world, "valkey": valkey, "monkeypatch": monkeypatch}
    names = mutant.test.__code__.co_varnames[: mutant.test.__code__.co_argcount]
    given = [known[name] for name in names if name in known]
    monkeypatch.setattr(mutant.place, mutant.name, mutant.instead)
    with pytest.raises(AssertionError):
        mutant.test(*given, *mutant.arguments)
