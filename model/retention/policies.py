"""The rules of a repository: from Quay's rows, the registry-wide default, a file, and Dredge's own rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import peewee

from model.db.connection import fetch, transaction
from model.repository import Repository
from model.retention.quay_policy import InvalidPolicy, QuayPolicy, parse_policy
from model.retention.rule import Rule
from model.retention.stored import read_stored

# The namespace's first, then the repository's own, as Quay runs them.
_ROWS = """
SELECT 'namespace policy ' || p.uuid AS name, p.policy FROM (
    SELECT id, uuid, policy FROM namespaceautoprunepolicy WHERE namespace_id = %(namespace_id)s ORDER BY id) p
UNION ALL
SELECT 'repository policy ' || p.uuid, p.policy FROM (
    SELECT id, uuid, policy FROM repositoryautoprunepolicy WHERE repository_id = %(repository_id)s
    ORDER BY id) p
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


def read_rules(where: Repository, policy: RetentionPolicy) -> RuleSet:
    """Return the rules of a repository now; only reads.  Skips a policy that is not valid.

    A rule of the file replaces a stored rule of the same name.  There are no rules at all while a stored
    rule is not valid and may be a `keep`: then nobody knows which tags must not end.
    """
    stored = read_stored(replaced=frozenset(rule.name for rule in policy.rules))
    problems = list(stored.problems)
    if stored.blocks:
        return RuleSet(problems=(*problems, "no rule ends a tag until that is mended"))
    together = tuple(rule for rule in (*policy.rules, *stored.rules) if rule.covers(where.path))
    in_turn: list[Rule] = []
    patterns: list[str] = []
    for found in _valid(_texts(where, policy), problems):
        number = None
        if found.tag_pattern is not None:
            number = len(patterns)
            patterns.append(found.tag_pattern)
        in_turn.append(found.as_rule(number))
    return RuleSet(tuple(in_turn), together, tuple(patterns), tuple(problems))


def _texts(where: Repository, policy: RetentionPolicy) -> Iterator[tuple[str, str]]:
    if policy.default:
        yield "registry-wide policy", policy.default
    if policy.autoprune:
        params = {"namespace_id": where.namespace_id, "repository_id": where.id}
        for row in fetch(_ROWS, params):
            yield row.name, row.policy


def _valid(texts: Iterator[tuple[str, str]], problems: list[str]) -> Iterator[QuayPolicy]:
    for name, text in texts:
        try:
            found = parse_policy(name, text)
        except InvalidPolicy as error:
            problems.append(str(error))
            continue
        if found.tag_pattern is not None and not is_database_regex(found.tag_pattern):
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
