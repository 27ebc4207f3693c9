"""What `dredge check` says of retention: the rules, and the list of digests in use."""

from __future__ import annotations

from collections.abc import Iterator

from model.human import counted
from model.in_use import StaleInUseList, require_fresh
from model.retention.file import BadPolicyFile
from model.retention.quay_policy import InvalidPolicy, parse_policy
from model.retention.stored import list_rules
from worker.cli.finding import CheckResult
from worker.jobs.retain import retention_policy
from worker.settings import Settings


def check_retention(settings: Settings) -> Iterator[CheckResult]:
    """Yield what is wrong with the rules, and how many there are."""
    stored = list_rules()
    for rule in stored:
        if rule.problem:
            yield CheckResult(
                "retention", rule.name, f"The stored rule {rule.name!r} is not valid: {rule.problem}"
            )
    try:
        policy = retention_policy(settings)
        if policy.default:
            parse_policy("DREDGE_AUTOPRUNE_DEFAULT", policy.default)
    except (BadPolicyFile, InvalidPolicy) as error:
        yield CheckResult("retention", "rules", str(error))
        return
    if policy or stored:
        quays = "Quay's policies run" if policy.autoprune else "Quay's policies do not run"
        own = f"{counted(len(policy.rules), 'rule')} in the file, {len(stored):,} in the database"
        yield CheckResult("retention", f"{own}; {quays}")
    try:
        require_fresh(policy.in_use_max_age_ms)
    except StaleInUseList:
        problem = "The list of digests in use is missing or too old: no rule ends a tag; `dredge inuse load`"
        yield CheckResult("retention", "in use", problem)
