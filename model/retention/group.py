"""Small repositories together: a statement for each of them costs more than what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.db.arrays import IntArray
from model.db.prepared import run

# A group has at most so many tags, or it is one repository.
MOST_TAGS = 5_000
_SLICE = 1_000

# Counts the tags of a large repository only so far.
_SIZES = """
SELECT w.id, (SELECT count(*) FROM (
    SELECT FROM tag t WHERE t.repository_id = w.id LIMIT %(most)s) counted) AS tags
FROM unnest(%(ids)s) WITH ORDINALITY AS w (id, place) ORDER BY w.place
"""


def group_repositories(repository_ids: Sequence[int]) -> Iterator[list[int]]:
    """Yield all the repositories in their order, in groups with at most `MOST_TAGS` tags; only reads.

    A repository with more is a group of its own.
    """
    for start in range(0, len(repository_ids), _SLICE):
        group: list[int] = []
        left = MOST_TAGS
        wanted = IntArray(repository_ids[start : start + _SLICE])
        for row in run(_SIZES, {"ids": wanted, "most": MOST_TAGS + 1}):
            if group and row.tags > left:
                yield group
                group, left = [], MOST_TAGS
            group.append(row.id)
            left -= row.tags
        yield group
