"""Which of the manifests that were looked at are dead: the judgement alone, without a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from model.gc.manifests.judge import ManifestUse, judge

ids = st.integers(0, 12)
graphs = st.lists(
    st.builds(
        ManifestUse,
        id=ids,
        tagged=st.sampled_from([False, False, True]),
        holders=st.lists(st.integers(0, 14), max_size=3).map(tuple),
    ),
    unique_by=lambda use: use.id,
    max_size=13,
)


def naive(uses: Iterable[ManifestUse]) -> set[int]:
    """Say who is used, again and again, until nobody is added; the rest is dead."""
    known = {use.id: use for use in uses}
    used = {use.id for use in known.values() if use.tagged or set(use.holders) - set(known)}
    while more := {use.id for use in known.values() if used.intersection(use.holders)} - used:
        used |= more
    return set(known) - used


@given(graphs)
def test_the_judgement_is_the_fixpoint_of_the_definition(uses: list[ManifestUse]) -> None:
    assert judge(uses) == naive(uses)


@given(graphs, st.randoms(use_true_random=False))
def test_the_order_of_the_sights_does_not_matter(uses: list[ManifestUse], random: object) -> None:
    shuffled = list(uses)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(shuffled) == judge(uses)


@given(graphs, ids)
def test_one_more_tag_never_kills(uses: list[ManifestUse], chosen: int) -> None:
    tagged = [replace(use, tagged=True) if use.id == chosen else use for use in uses]
    assert judge(tagged) <= judge(uses)


@given(graphs, st.sets(ids))
def test_judging_a_part_finds_no_more_dead_than_judging_all(uses: list[ManifestUse], out: set[int]) -> None:
    part = [use for use in uses if use.id not in out]
    assert judge(part) <= judge(uses)


@given(graphs)
def test_whoever_keeps_the_dead_is_dead(uses: list[ManifestUse]) -> None:
    dead = judge(uses)
    for use in uses:
        if use.id in dead:
            assert not use.tagged and dead.issuperset(use.holders)


def test_a_cycle_that_nothing_outside_keeps_is_dead() -> None:
    cycle = [ManifestUse(1, False, (2,)), ManifestUse(2, False, (1,)), ManifestUse(3, False, (3,))]
    assert judge(cycle) == {1, 2, 3}
    assert judge([*cycle, ManifestUse(4, True, ()), ManifestUse(5, False, (4, 1))]) == {1, 2, 3}
    assert judge([ManifestUse(1, False, (2, 9)), ManifestUse(2, False, (1,))]) == set()


def test_nothing_is_dead_where_nothing_was_seen() -> None:
    assert judge([]) == frozenset()


def test_a_chain_of_a_hundred_thousand_is_judged_at_once() -> None:
    chain = [ManifestUse(n, n == 0, (n - 1,) if n else ()) for n in range(100_000)]
    assert judge(chain) == frozenset()
    chain[0] = ManifestUse(0, False, ())
    assert len(judge(chain)) == 100_000
