"""The rules of a repository: from Quay's rows, the registry-wide default, a file, and Dredge's own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import peewee

from model.db.arrays import IntArray
from model.db.connection import fetch, transaction
from model.db.prepared import run
from model.repository import Repository
from model.retention.facts import Needs, find_needs
from model.retention.quay_policy import InvalidPolicy, QuayPolicy, parse_policy
from model.retention.rule import Rule
from model.retention.stored import read_stored

# The namespace's first, then the repository's own, as Quay runs them.
_ROWS = """
SELECT w.id AS repository_id, 'namespace policy ' || p.uuid AS name, p.policy, 0 AS turn, p.id
FROM unnest(%(repositories)s, %(namespaces)s) AS w (id, namespace_id)
JOIN namespaceautoprunepolicy p ON p.namespace_id = w.namespace_id
UNION ALL
SELECT p.repository_id, 'repository policy ' || p.uuid, p.policy, 1, p.id
FROM repositoryautoprunepolicy p WHERE p.repository_id = ANY(%(repositories)s)
ORDER BY turn, id
"""


@dataclass(frozen=True)
class RetentionPolicy:
    """The rules from the configuration: the registry-wide default, and the rules of a file.

    `autoprune` false: Dredge does not run Quay's policies.  `warn_ms`: how long before its end a tag is
    announced.
    """

    autoprune: bool = False
    default: str = ""
    rules: tuple[Rule, ...] = ()
    warn_ms: int = 0
    in_use_max_age_ms: int | None = None

    def __bool__(self) -> bool:
        return bool(self.autoprune or self.default or self.rules or self.warn_ms)


@dataclass(frozen=True)
class RuleSet:
    """The rules of one repository; `problems` are policies that were skipped, and why."""

    in_turn: tuple[Rule, ...] = ()
    together: tuple[Rule, ...] = ()
    patterns: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=(), compare=False)

    @property
    def all(self) -> tuple[Rule, ...]:
        return (*self.in_turn, *self.together)

    @property
    def needs(self) -> Needs:
        """Return the facts that the rules use."""
        return find_needs(self.all, self.patterns)


def read_rules(where: Repository, policy: RetentionPolicy) -> RuleSet:
    """Return the rules of one repository now, as `read_all_rules` does; only reads."""
    return read_all_rules([where], policy)[where.id]


def read_all_rules(wheres: Sequence[Repository], policy: RetentionPolicy) -> dict[int, RuleSet]:
    """Return the rules of each repository now; only reads.  Skips a policy that is not valid.

    A rule of the file replaces a stored rule of the same name.  There are no rules at all while a stored
    rule is not valid and may be a `keep`: then nobody knows which tags must not end.
    """
    stored = read_stored(replaced=frozenset(rule.name for rule in policy.rules))
    if stored.blocks:
        blocked = RuleSet(problems=(*stored.problems, "no rule ends a tag until that is mended"))
        return {where.id: blocked for where in wheres}
    texts = _texts(wheres, policy)
    # Many repositories have the patterns of one namespace.
    is_regex = cache(is_database_regex)
    found = {}
    for where in wheres:
        problems = list(stored.problems)
        together = tuple(rule for rule in (*policy.rules, *stored.rules) if rule.covers(where.path))
        policies = list(_valid(texts[where.id], problems, is_regex))
        patterns = tuple(each.tag_pattern for each in policies if each.tag_pattern is not None)
        numbers = count()
        in_turn = tuple(
            each.as_rule(None if each.tag_pattern is None else next(numbers)) for each in policies
        )
        found[where.id] = RuleSet(in_turn, together, patterns, tuple(problems))
    return found


def _texts(wheres: Sequence[Repository], policy: RetentionPolicy) -> dict[int, list[tuple[str, str]]]:
    """Return the names and texts of Quay's policies for each repository, in their order."""
    default = [("registry-wide policy", policy.default)] if policy.default else []
    texts = {where.id: list(default) for where in wheres}
    if policy.autoprune:
        repositories = IntArray(where.id for where in wheres)
        namespaces = IntArray(where.namespace_id for where in wheres)
        for row in run(_ROWS, {"repositories": repositories, "namespaces": namespaces}):
            texts[row.repository_id].append((row.name, row.policy))
    return texts


def _valid(
    texts: Iterable[tuple[str, str]], problems: list[str], is_regex: Callable[[str], bool]
) -> Iterator[QuayPolicy]:
    for name, text in texts:
        try:
            found = parse_policy(name, text)
        except InvalidPolicy as error:
            problems.append(str(error))
            continue
        if found.tag_pattern is not None and not is_regex(found.tag_pattern):
            problems.append(f"{name}: {found.tag_pattern!r} is not a regular expression of PostgreSQL")
            continue
        yield found


def is_database_regex(pattern: str) -> bool:
    """Return whether PostgreSQL accepts the regular expression.  Only reads."""
    try:
        with transaction():
            fetch("SELECT '' ~ %s AS matches", (pattern,))
    except peewee.DatabaseError:
        return False
    return True


def needs_shield(rules: Sequence[Rule]) -> bool:
    """Return whether any of the rules could end a tag."""
    return any(rule.action == "expire" for rule in rules)
