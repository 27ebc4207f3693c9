"""Which of the manifests that were looked at are dead: the judgement alone, without a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from model.gc.manifests.judge import Sight, judge

ids = st.integers(0, 12)
graphs = st.lists(
    st.builds(
        Sight,
        id=ids,
        tagged=st.sampled_from([False, False, True]),
        keepers=st.lists(st.integers(0, 14), max_size=3).map(tuple),
    ),
    unique_by=lambda sight: sight.id,
    max_size=13,
)


def naive(sights: Iterable[Sight]) -> set[int]:
    """Say who is used, again and again, until nobody is added; the rest is dead."""
    known = {sight.id: sight for sight in sights}
    used = {sight.id for sight in known.values() if sight.tagged or set(sight.keepers) - set(known)}
    while more := {sight.id for sight in known.values() if used.intersection(sight.keepers)} - used:
        used |= more
    return set(known) - used


@given(graphs)
def test_the_judgement_is_the_fixpoint_of_the_definition(sights: list[Sight]) -> None:
    assert judge(sights) == naive(sights)


@given(graphs, st.randoms(use_true_random=False))
def test_the_order_of_the_sights_does_not_matter(sights: list[Sight], random: object) -> None:
    shuffled = list(sights)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(shuffled) == judge(sights)


@given(graphs, ids)
def test_one_more_tag_never_kills(sights: list[Sight], chosen: int) -> None:
    tagged = [replace(sight, tagged=True) if sight.id == chosen else sight for sight in sights]
    assert judge(tagged) <= judge(sights)


@given(graphs, st.sets(ids))
def test_judging_a_part_never_condemns_more_than_judging_all(sights: list[Sight], out: set[int]) -> None:
    part = [sight for sight in sights if sight.id not in out]
    assert judge(part) <= judge(sights)


@given(graphs)
def test_whoever_keeps_the_dead_is_dead(sights: list[Sight]) -> None:
    dead = judge(sights)
    for sight in sights:
        if sight.id in dead:
            assert not sight.tagged and dead.issuperset(sight.keepers)


def test_a_cycle_that_nothing_outside_keeps_is_dead() -> None:
    cycle = [Sight(1, False, (2,)), Sight(2, False, (1,)), Sight(3, False, (3,))]
    assert judge(cycle) == {1, 2, 3}
    assert judge([*cycle, Sight(4, True, ()), Sight(5, False, (4, 1))]) == {1, 2, 3}
    assert judge([Sight(1, False, (2, 9)), Sight(2, False, (1,))]) == set()


def test_nothing_is_dead_where_nothing_was_seen() -> None:
    assert judge([]) == frozenset()


def test_a_chain_of_a_hundred_thousand_is_judged_at_once() -> None:
    chain = [Sight(n, n == 0, (n - 1,) if n else ()) for n in range(100_000)]
    assert judge(chain) == frozenset()
    chain[0] = Sight(0, False, ())
    assert len(judge(chain)) == 100_000
