"""The tags that would end with others: signatures that lose their subject, temporary tags below an index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from model.db.arrays import IntArray
from model.db.prepared import run
from model.policy import Policy
from model.retention.rule import TagFacts
from model.tag.cosign import PATTERN, is_cosign, subject_of_digest, subject_of_name
from model.tag.rows import ALIVE
from model.tag.temporary import read_below

_SIGNATURES = f"""
SELECT t.id, t.repository_id, t.manifest_id, m.digest, t.lifetime_start_ms AS start_ms, t.name
FROM tag t JOIN manifest m ON m.id = t.manifest_id
WHERE t.repository_id = ANY(%(repositories)s) AND {ALIVE} AND NOT t.hidden AND t.name ~ %(cosign)s
  AND NOT (t.immutable AND %(protects)s)
"""

_VISIBLE = f"""
SELECT t.id, t.manifest_id, t.name FROM tag t
WHERE t.manifest_id = ANY(%(manifests)s) AND {ALIVE} AND NOT t.hidden
"""


class Ending(NamedTuple):
    """A tag that would end."""

    id: int
    repository_id: int
    manifest_id: int
    digest: str
    start_ms: int


class Along:
    """Finds what ends with some tags of repositories, as `model.registry.ending.end_tags` ends it.

    Reads the signatures of these repositories once.  Only reads.
    """

    def __init__(self, repositories: IntArray, *, policy: Policy, now_ms: int) -> None:
        self._policy, self._now_ms = policy, now_ms
        # By repository, and by what the names of all signatures of a digest have in common.
        self._signatures: defaultdict[tuple[int, str], list[Ending]] = defaultdict(list)
        params = {
            "repositories": repositories,
            "cosign": PATTERN,
            "protects": policy.immutable_tags,
            "now_ms": now_ms,
        }
        for row in run(_SIGNATURES, params):
            subject = row.repository_id, subject_of_name(row.name)
            self._signatures[subject].append(Ending(*row[:5]))

    def find(self, tags: Sequence[TagFacts]) -> tuple[set[int], set[int]]:
        """Return the ids of all tags that would end, and those of the manifests that they point at."""
        ended = {tag.id for tag in tags}
        begun: dict[int, int] = {}
        _note(begun, tags)
        # The first tags are none of Cosign's; the later ones all are.
        new = self._orphaned([tag for tag in tags if not tag.hidden], ended, by_any=False)
        while new:
            ended |= {tag.id for tag in new}
            _note(begun, new)
            new = self._orphaned(new, ended, by_any=True)
        manifests = set(begun)
        if self._policy.reset_child_manifest_expiration and begun:
            below = read_below(begun, after_ms=self._now_ms)
            ended |= {id for id, _ in below}
            manifests |= {manifest_id for _, manifest_id in below}
        return ended, manifests

    def _orphaned(
        self, subjects: Iterable[TagFacts | Ending], ended: set[int], *, by_any: bool
    ) -> list[Ending]:
        """Return the signatures of these tags' manifests that no visible tag keeps any more.

        `by_any`: a tag with a name of Cosign's keeps them, too.
        """
        if not self._signatures:
            return []
        left: dict[int, list[Ending]] = {}
        for tag in subjects:
            found = self._signatures.get((tag.repository_id, subject_of_digest(tag.digest)), ())
            left[tag.manifest_id] = [signature for signature in found if signature.id not in ended]
        asked = [id for id, signatures in left.items() if signatures]
        rows = run(_VISIBLE, {"manifests": IntArray(asked), "now_ms": self._now_ms}) if asked else []
        kept = {
            row.manifest_id for row in rows if row.id not in ended and (by_any or not is_cosign(row.name))
        }
        return [tag for id in asked if id not in kept for tag in left[id]]


def _note(begun: dict[int, int], tags: Iterable[TagFacts | Ending]) -> None:
    """Note the latest beginning of a tag of each manifest."""
    for tag in tags:
        if begun.get(tag.manifest_id, tag.start_ms) <= tag.start_ms:
            begun[tag.manifest_id] = tag.start_ms
