"""Run the retention rules of one repository, in batches, until no tag is left to end."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from model.cache import invalidation
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import RegistryError
from model.gc.cursor import move_cursor, read_cursor
from model.in_use import StaleInUseList
from model.policy import Policy
from model.retention.apply import Judged, end_chosen, judge_repository
from model.retention.file import BadPolicyFile, parse_policy_file
from model.retention.find import find_retention_due, record_visit
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule, TagFacts
from model.retention.stored import has_rules
from model.retention.warn import announce
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.pace import Budget
from worker.settings import Settings

log = logs.logger("dredge.retention")

CURSOR = "retention"
DAY_MS = 86_400_000
BATCH, MOST_BATCH = 200, 2_000

# A turn reads at most so many rows for each tag that it ends: its judgement reads every tag of the
# repository, and each batch looks up all tags that the judgement spares.
READ_PER_ENDED = 100


@dataclass(frozen=True)
class Retained:
    """What one turn did to a repository; `problems` lists policies that were skipped."""

    ended: int = 0
    warned: int = 0
    problems: tuple[str, ...] = ()
    has_more: bool = False


def retention_policy(settings: Settings) -> RetentionPolicy:
    """Return the policy of the settings and of the rules file, read now.  Raises `BadPolicyFile`.

    The rules in the database are read for each repository, in the transaction that uses them.
    """
    return RetentionPolicy(
        autoprune=settings.autoprune,
        default=settings.autoprune_default,
        rules=parse_policy_file(_read(settings.retention_file)) if settings.retention_file else (),
        warn_ms=settings.expiry_warning_days * DAY_MS,
        in_use_max_age_ms=settings.in_use_max_age_s * 1000 if settings.in_use_source else None,
    )


def enqueue_retention(context: JobContext) -> int:
    """Enqueue the repositories of the next slice whose rules are due.  Returns the number sent.

    A cursor in the database lets the next call continue.  Raises `BadPolicyFile` and `BrokerUnavailable`.
    """
    settings = context.settings
    policy = retention_policy(settings)
    with connection():
        has_stored = has_rules()
        if not policy and not has_stored:
            return 0
        due = find_retention_due(
            after=read_cursor(CURSOR),
            slice=settings.scan_slice,
            interval_ms=settings.retention_interval_s * 1000,
            everywhere=bool(policy.default or policy.rules or policy.warn_ms or has_stored),
            now_ms=now_ms(),
        )
        sent = context.queue.retain(due.repository_ids) if due.repository_ids else 0
        move_cursor(CURSOR, due.last)
    return sent


def retain_repository(
    context: JobContext, repository_id: int, *, budget_s: float, policy: RetentionPolicy | None = None
) -> Retained:
    """End the tags that the rules select, until none is left or the budget is used up (then `has_more`).

    A turn on a repository with very many tags goes on after its budget until it has ended enough of them for
    what its judgement cost.  Then announces the tags that will end soon.  If the list of digests in use is
    stale, ends nothing and records that in the repository's row.  Idempotent; concurrent calls end each tag
    once.
    """
    wanted = retention_policy(context.settings) if policy is None else policy
    with connection():
        judged = judge_repository(repository_id, policy=context.policy, retention=wanted)
        try:
            ended, has_more = _end(context, judged, wanted, Budget(budget_s))
            warned = 0 if has_more else _warn(judged, ended, context.policy, wanted)
        except RegistryError as error:
            if not error.retryable:
                _record(judged, str(error))
            if isinstance(error, StaleInUseList):
                log.warning("retention.stopped", repository_id=repository_id, reason=str(error))
            raise
        if not has_more:
            _record(judged, "; ".join(judged.rules.problems))
    if ended or judged.rules.problems:
        problems = list(judged.rules.problems)
        log.info("retention.ran", repository_id=repository_id, ended=ended, problems=problems)
    return Retained(ended, warned, judged.rules.problems, has_more)


def _end(context: JobContext, judged: Judged, retention: RetentionPolicy, budget: Budget) -> tuple[int, bool]:
    """End the selected tags in batches.  Returns their number, and whether a new selection is needed."""
    ended = 0
    size = max(BATCH, min(ceil(len(judged.verdict.spared) / READ_PER_ENDED), MOST_BATCH))
    for start in range(0, len(judged.chosen), size):
        if start * READ_PER_ENDED >= max(judged.looked, 1) and not budget:
            return ended, True
        chosen = judged.chosen[start : start + size]
        batch = end_chosen(judged, chosen, policy=context.policy, retention=retention)
        ended += batch.ended
        if batch.ended:
            _forget(context, judged, [tag.digest for tag in chosen])
        if batch.stale:
            log.info("retention.outdated", repository_id=judged.repository.id)
            break
    return ended, False


def _warn(judged: Judged, ended: int, policy: Policy, retention: RetentionPolicy) -> int:
    """Announce the tags that will end.  Reads them again only if some that were chosen have not ended."""
    if not retention.warn_ms:
        return 0
    ending: list[tuple[TagFacts, Rule]] = []
    if ended < len(judged.chosen):
        judged = judge_repository(judged.repository.id, policy=policy, retention=retention)
        ending = [(tag, judged.verdict.ended[tag.id]) for tag in judged.chosen]
    # The time of now: at that of the judgement the tags that have ended would still live.
    return announce(judged.repository, [*ending, *judged.soon], now_ms=now_ms(), within_ms=retention.warn_ms)


def _record(judged: Judged, problems: str) -> None:
    record_visit(judged.repository.id, judged.repository.namespace_id, problems=problems)


def _forget(context: JobContext, judged: Judged, digests: list[str]) -> None:
    """Drop the ended tags from the cache.  Best effort: the workers do it again for the events."""
    where = judged.repository
    keys = invalidation.after_tag_change(where.namespace, where.name, where.id, digests)
    context.cache.invalidate(*keys)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPolicyFile([f"{path} cannot be read: {error}"]) from None
