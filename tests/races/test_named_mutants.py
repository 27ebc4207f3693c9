"""Planted bugs that no interleaving shows: each is found by the fast test that is named with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model import blob, blob_list
from model.db import session
from model.db.arrays import BigIntArray
from model.db.connection import fetch, transaction
from model.db.fragments import MAY_BE_SAME_STORE, PLACED
from model.gc import review, uploads
from model.gc.orphans import objects
from model.upload import NAMED_SQL
from tests.model.db import test_session
from tests.model.gc import test_review
from tests.support.eraser import EraserFixture
from tests.support.world import World
from tests.worker.jobs import test_erase, test_quarantine, test_quay_lock, test_sweep_guards
from tests.worker.transfer import test_push, test_upload
from worker.jobs import erase, erase_outcome, quarantine
from worker.jobs.erase_outcome import EraseOutcome
from worker.quay.quay_lock import QuayLocks
from worker.storage.open import open_stores

# They test the tests.
pytestmark = pytest.mark.slow


class _ShortLeases(QuayLocks):
    def __init__(self, url: str, *, lease_ms: int) -> None:
        super().__init__(url, lease_ms=3_000)


def _settle_for_everybody(token: int, ids: Any) -> frozenset[int]:
    rows = fetch("DELETE FROM dredge_tombstone WHERE id = ANY(%s) RETURNING id", (BigIntArray(ids),))
    return frozenset(row.id for row in rows)


def _believe(self: QuayLocks, tombstones: Any) -> tuple[list[Any], list[Any]]:
    return list(tombstones), []


def _erase_in_a_transaction(*arguments: Any) -> Any:
    with transaction():
        return _ERASE_BATCH(*arguments)


_ERASE_BATCH = erase._erase_batch


def _replaced(statement: str, part: str, instead: str) -> str:
    assert part in statement, f"the statement does not hold {part!r}: mend this table"
    return statement.replace(part, instead)


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
        erase, "_lock_with_quay", lambda locks, doomed: (doomed, EraseOutcome()),
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
    Named(
        "a sweep asks for references by the location's name",
        objects, "_KNOWN", _replaced(objects._KNOWN, MAY_BE_SAME_STORE, "l.name = s.location"),
        test_quarantine.test_case_57_two_names_of_one_store_are_swept_as_one,
    ),
    Named(
        "a frozen eraser keeps its row locks for a minute",
        erase, "short_transaction", transaction,
        test_quarantine.test_an_eraser_that_is_frozen_in_a_transaction_loses_it_after_three_seconds,
    ),
    Named(
        "a request is sent inside of the transaction that claims",
        erase, "_erase_batch", _erase_in_a_transaction,
        test_erase.test_case_63_no_row_is_locked_while_a_request_is_sent,
    ),
    Named(
        "rows of other software do not switch the quarantine on",
        quarantine, "others_write", lambda: False,
        test_quarantine.test_case_58_rows_that_a_quay_wrote_switch_the_quarantine_on,
    ),
    Named(
        "a blob that Quay calls uploading is not ready",
        blob_list, "_BLOB", _replaced(blob_list._BLOB, PLACED, "NOT b.uploading"),
        test_push.test_case_60_a_blob_that_a_quay_wrote_is_found_mounted_and_not_written_again,
    ),
    Named(
        "rows that Quay calls uploading do not show whose a store is",
        objects, "_SOME_OBJECTS",
        _replaced(objects._SOME_OBJECTS, "b.id = p.storage_id", "b.id = p.storage_id AND NOT b.uploading"),
        test_sweep_guards.test_case_60_rows_that_a_quay_wrote_show_whose_a_store_is,
    ),
    Named(
        "the chunks of a running upload of Quay are unknown",
        objects, "_KNOWN", _replaced(objects._KNOWN, "AND m[1] = ANY(%(paths)s)", "AND false"),
        test_upload.test_case_64_chunks_that_a_running_upload_of_a_quay_names_are_known,
    ),
    Named(
        "the tombstones of an upload of Quay name the path of its row",
        uploads, "_UPLOADS", _replaced(uploads._UPLOADS, f"UNION SELECT m[1] FROM {NAMED_SQL} AS m", ""),
        test_upload.test_case_64_the_tombstones_of_a_dead_upload_of_a_quay_name_its_chunks,
    ),
    Named(
        "a blob without placement is never dead",
        review, "_RETIRE",
        _replaced(review._RETIRE, "b ON b.id = l.id", f"b ON b.id = l.id AND {PLACED}"),
        test_review.test_case_65_a_placeholder_that_lost_its_manifest_goes_and_frees_nothing,
    ),
    Named(
        "nobody remembers the object that a blob without placement keeps",
        review, "_RETIRE",
        _replaced(review._RETIRE, "o ON o.content_checksum = p.digest", "o ON false"),
        test_review.test_case_65_the_object_that_a_placeholder_kept_goes_with_it,
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
    known = {
        "eraser": eraser,
        "world": world,
        "valkey": valkey,
        "monkeypatch": monkeypatch,
        "tmp_path": tmp_path,
        "stores": open_stores({"local_us": f"file://{tmp_path}/objects?fsync=off"}),
        "now": world.now_ms,
    }
    names = mutant.test.__code__.co_varnames[: mutant.test.__code__.co_argcount]
    given = [known[name] for name in names if name in known]
    monkeypatch.setattr(mutant.place, mutant.name, mutant.instead)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        mutant.test(*given, *mutant.arguments)
