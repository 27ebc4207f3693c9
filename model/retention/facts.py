"""The facts about the tags of repositories that rules use, read in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from model.db.arrays import IntArray
from model.db.prepared import run
from model.retention.rule import Rule, TagFacts
from model.tag.cosign import PATTERN
from model.tag.rows import ALIVE
from model.tag.temporary import PREFIX

# Rules do not select Cosign's tags, which end with their subject.  Of hidden tags rules select only those
# that hold an untagged manifest, if a rule asks for them.  A tag's pulls are those of its name or digest.
_FACTS = f"""
SELECT t.id, t.repository_id, t.name, t.manifest_id, m.digest, t.lifetime_start_ms AS start_ms,
       t.lifetime_end_ms AS end_ms, t.hidden, t.immutable AND %(protects)s AS immutable,
       CASE WHEN (SELECT EXISTS (SELECT FROM dredge_in_use)) THEN
           EXISTS (SELECT FROM dredge_in_use u WHERE u.digest = m.digest)
           OR EXISTS (SELECT FROM manifestchild c JOIN manifest k ON k.id = c.child_manifest_id
                      JOIN dredge_in_use u ON u.digest = k.digest WHERE c.manifest_id = m.id)
           ELSE false END AS in_use,
       CASE WHEN %(with_pulls)s THEN greatest(
           (SELECT (extract(epoch FROM p.last_tag_pull_date) * 1000)::bigint FROM tagpullstatistics p
            WHERE p.repository_id = t.repository_id AND p.tag_name = t.name),
           (SELECT (extract(epoch FROM p.last_manifest_pull_date) * 1000)::bigint
            FROM manifestpullstatistics p
            WHERE p.repository_id = t.repository_id AND p.manifest_digest = m.digest)) END AS pulled_ms,
       CASE WHEN %(with_labels)s THEN ARRAY(
           SELECT ARRAY[l.key, l.value] FROM manifestlabel ml JOIN label l ON l.id = ml.label_id
           WHERE ml.manifest_id = m.id) END AS labels,
       CASE WHEN %(with_patterns)s THEN ARRAY(
           SELECT w.n::int - 1 FROM unnest(%(patterns)s::text[]) WITH ORDINALITY AS w (pattern, n)
           WHERE t.name ~ w.pattern) END AS patterns
FROM tag t JOIN manifest m ON m.id = t.manifest_id
WHERE t.repository_id = ANY(%(repositories)s) AND {ALIVE} AND t.name !~ %(cosign)s
  AND (NOT t.hidden OR (%(with_hidden)s AND starts_with(t.name, %(temporary)s)))
"""
_OF_IDS = f"{_FACTS} AND t.id = ANY(%(ids)s)"


class Needs(NamedTuple):
    """The facts that some rules use; `patterns` are regular expressions for the database."""

    patterns: tuple[str, ...]
    hidden: bool
    pulls: bool
    labels: bool


def find_needs(rules: Sequence[Rule], patterns: tuple[str, ...]) -> Needs:
    """Return the facts that these rules use."""
    return Needs(
        patterns,
        hidden=any(rule.untagged for rule in rules),
        pulls=any(rule.not_pulled_for_ms is not None for rule in rules),
        labels=any(rule.label is not None for rule in rules),
    )


def read_facts(
    repository_ids: Iterable[int],
    needs: Needs,
    *,
    now_ms: int,
    protects: bool,
    ids: Sequence[int] | None = None,
) -> list[TagFacts]:
    """Return the alive tags that rules may select (only these ids, if given); only reads.

    `protects`: immutability counts here.
    """
    params: dict[str, Any] = {
        "repositories": IntArray(repository_ids),
        "now_ms": now_ms,
        "protects": protects,
        "patterns": list(needs.patterns),
        "cosign": PATTERN,
        "temporary": PREFIX,
        "with_patterns": bool(needs.patterns),
        "with_hidden": needs.hidden,
        "with_pulls": needs.pulls,
        "with_labels": needs.labels,
    }
    make = _make if needs.labels or needs.patterns else TagFacts._make
    if ids is None:
        return run(_FACTS, params, make=make)
    return run(_OF_IDS, {**params, "ids": IntArray(ids)}, make=make)


def _make(row: tuple[Any, ...]) -> TagFacts:
    """Return the facts of a row with arrays."""
    *facts, labels, patterns = row
    pairs = None if labels is None else frozenset([(key, value) for key, value in labels])
    return TagFacts._make((*facts, pairs, None if patterns is None else frozenset(patterns)))
