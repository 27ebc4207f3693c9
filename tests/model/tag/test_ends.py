"""Ends: one row of a name in a millisecond, and never one after the wanted end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.registry.limits import LONGEST_LIFE_MS, SHORTEST_LIFE_MS, clamp_end
from model.tag import cosign
from model.tag.lifetime import assign_ends

NAMES = st.sampled_from(["a", "b", "c"])


@given(
    names=st.lists(NAMES, max_size=12),
    taken=st.dictionaries(NAMES, st.sets(st.integers(80, 110), max_size=30)),
)
def test_every_row_gets_the_last_free_millisecond(names: list[str], taken: dict[str, set[int]]) -> None:
    before = {name: set(ends) for name, ends in taken.items()}
    ends = assign_ends(names, 100, taken)
    assert taken == before and len(ends) == len(names)
    for name in set(names):
        mine = [end for other, end in zip(names, ends, strict=True) if other == name]
        free = [ms for ms in range(100, 0, -1) if ms not in taken.get(name, set())]
        assert mine == free[: len(mine)]


@given(start_ms=st.integers(0, 2**45), end_ms=st.integers(-(2**45), 2**46))
def test_a_life_is_an_hour_to_104_weeks_and_else_as_asked_for(start_ms: int, end_ms: int) -> None:
    life = clamp_end(start_ms, end_ms) - start_ms
    assert SHORTEST_LIFE_MS <= life <= LONGEST_LIFE_MS
    assert life == end_ms - start_ms or life in (SHORTEST_LIFE_MS, LONGEST_LIFE_MS)


def test_cosign_names_are_told_from_others() -> None:
    digest = "sha256:" + "ab" * 32
    names = cosign.sibling_names(digest)
    assert names == tuple(f"sha256-{'ab' * 32}{suffix}" for suffix in ("", ".sig", ".att", ".sbom"))
    assert all(map(cosign.is_cosign, names))
    assert cosign.sibling_names("sha512:" + "ab" * 64) == (f"sha512-{'ab' * 32}",)
    for name in ("v1", names[0] + "x", names[0].upper(), "x" + names[0], names[0][:-1], names[0] + "\n"):
        assert not cosign.is_cosign(name)
