"""The whole collector in this process: scan, collect, review and erase until nothing is left to do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model.cache.base import DataModelCache
from model.cache.none import NoBackend
from model.gc.storage_identity import record_identity
from model.policy import DEFAULT, Policy
from worker.jobs.collect import Collected
from worker.jobs.context import JobContext
from worker.jobs.erase import erase
from worker.jobs.review import review
from worker.jobs.scan import scan
from worker.jobs.together import collect_with_others, enqueue_unfinished
from worker.settings import Settings
from worker.storage.base import Store, Stores
from worker.storage.local import LocalStore

LOCATION = "local_us"
BUDGET_S = 600.0
ROUNDS = 60


@dataclass
class Recorded:
    """A queue that records the enqueued repositories, and how often each other stage was enqueued."""

    repositories: list[int] = field(default_factory=list)
    reviews: int = 0
    erases: int = 0
    report_runs: int = 0
    retentions: list[int] = field(default_factory=list)
    purges: list[int] = field(default_factory=list)
    namespace_purges: list[int] = field(default_factory=list)

    def collect(self, repository_ids: Sequence[int]) -> int:
        new = [id for id in repository_ids if id not in self.repositories]
        self.repositories += new
        return len(new)

    def purge(self, repository_ids: Sequence[int], namespace_ids: Sequence[int] = ()) -> int:
        self.purges += [*repository_ids]
        self.namespace_purges += [*namespace_ids]
        return len(repository_ids) + len(namespace_ids)

    def retain(self, repository_ids: Sequence[int]) -> int:
        self.retentions += [*repository_ids]
        return len(repository_ids)

    def review(self) -> None:
        self.reviews += 1

    def erase(self) -> None:
        self.erases += 1

    def reports(self) -> None:
        self.report_runs += 1


def make_context(
    stores: Stores | Mapping[str, Store] | Path,
    *,
    policy: Policy = DEFAULT,
    settings: Settings | None = None,
    automatic_quarantine: bool = False,
) -> JobContext:
    """Return a context of real parts, except for a queue that records and a cache that stores nothing.

    Its stores are already verified, and erase at once unless `settings` differ.
    """
    if isinstance(stores, Path):
        stores = {LOCATION: LocalStore(stores, fsync=False)}
    if not isinstance(stores, Stores):
        stores = Stores(stores, LOCATION)
    # The size of a batch follows the time of the last one: here it does not, however busy the machine is.
    given = replace(settings or Settings(), transaction_target_ms=60_000)
    if given.quarantine_s is None and not automatic_quarantine:
        given = replace(given, quarantine_s=0)
    for name, store in stores.items():
        record_identity(name, address=store.address, identity=store.write_identity(str(uuid.uuid4())))
    return JobContext(
        settings=given,
        policy=policy,
        stores=stores,
        cache=DataModelCache(NoBackend()),
        queue=Recorded(),
    )


def run_to_quiescence(context: JobContext) -> int:
    """Scan, collect, review and erase until a whole round finds nothing.  Returns the number of rounds.

    Fails if rounds find garbage again and again that is never removed.
    """
    queue = context.queue
    assert isinstance(queue, Recorded)
    for round in range(1, ROUNDS):
        worked = scan(context).due > 0
        while queue.repositories:
            while _collect(context, queue.repositories[0]).has_more:
                pass
            del queue.repositories[0]
        worked |= review(context, budget_s=BUDGET_S).candidates > 0
        cleared = erase(context, budget_s=BUDGET_S)
        worked |= bool(cleared.objects or cleared.missing or cleared.dropped or cleared.put_back)
        if not worked:
            return round
    raise AssertionError(f"no rest after {ROUNDS} rounds: something is found again and again")


def _collect(context: JobContext, repository_id: int) -> Collected:
    """Run one turn as a task does, together with other due repositories."""
    outcomes = collect_with_others(context, repository_id, budget_s=BUDGET_S)
    enqueue_unfinished(context, outcomes)
    mine = outcomes[0]
    if mine.error is not None:
        raise mine.error
    return mine.collected
