"""The Celery tasks.  Each checks its arguments, calls a job, and enqueues another turn if there is more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from model.gc.due.attempt import is_settled
from model.registry.arguments import checked_id, find_repository
from worker import logs, metrics, wiring
from worker.app import application
from worker.broker import background_threads, periodic, routes, signals
from worker.broker.connection import BrokerUnavailable
from worker.events.parking import retry_parked
from worker.events.react import react
from worker.jobs import collect, deletions, erase, in_use, purge, reports, retain, review, scan, tags
from worker.jobs import prune as pruning
from worker.jobs import sweep as sweeping
from worker.jobs.context import JobContext
from worker.jobs.together import collect_with_others, enqueue_unfinished
from worker.jobs.webhooks import deliver_webhooks as send_to_webhooks

log = logs.logger("dredge.tasks")

signals.install()
background_threads.install(application)


def _box(started: str | int | None = None) -> JobContext:
    """Return the context.  If `started` names a task, that task may be enqueued again from now on."""
    box = wiring.context(application)
    if started is not None:
        wiring.started(box, started)
    return box


@application.task(name=routes.FIND, max_retries=0)
def find_repositories_with_garbage() -> None:
    """Enqueue one collection for each repository with garbage, longest waiting first."""
    try:
        scan.scan(_box())
    except BrokerUnavailable as error:
        log.warning("scan.gave_up", error=str(error))


@application.task(name=routes.COLLECT, ignore_result=False, bind=True)
def garbage_collect_repo(self: Any, repository: int | str) -> dict[str, Any]:
    """Collect one repository, given by ID or as `namespace/name`.  Returns what one turn removed.

    Collects other small due repositories in the same turn; their own tasks then end at once.  Idempotent.
    """
    repository_id = find_repository(repository).id
    box = _box(started=repository_id)
    if _sent_when_due(self.request) and is_settled(repository_id):
        return collect.Collected().as_json()
    outcomes = collect_with_others(box, repository_id, budget_s=box.settings.task_budget_s)
    for outcome in outcomes:
        metrics.freed(tags=outcome.collected.tags, manifests=outcome.collected.manifests)
        metrics.iterated()
    enqueue_unfinished(box, outcomes)
    mine = outcomes[0]
    if mine.error is not None:
        raise mine.error
    return mine.collected.as_json()


def _sent_when_due(request: Any) -> bool:
    """Return whether this is the first delivery of a message sent for the table of due repositories.

    False for a message that a caller sent, and for one that is redelivered after its worker died: those
    collect even if the table has no due row.
    """
    delivery = request.delivery_info or {}
    return bool(request.get("queued_ms")) and not request.retries and not delivery.get("redelivered")


@application.task(name=routes.FIND_PURGES, max_retries=0)
def find_purges() -> None:
    """Enqueue the purge of each deleted repository and namespace whose grace is over."""
    try:
        purge.enqueue_purges(_box())
    except BrokerUnavailable as error:
        log.warning("purge.gave_up", error=str(error))


@application.task(name=routes.PURGE_REPOSITORY, ignore_result=False)
def purge_repository(repository_id: int) -> dict[str, Any]:
    """Purge one deleted repository, given by ID.  Returns what one turn deleted.  Idempotent."""
    checked_id(repository_id, "repository")
    box = _box(started=f"purge:{repository_id}")
    purged = purge.purge_repository(box, repository_id, budget_s=box.settings.task_budget_s)
    metrics.freed(tags=purged.tags, manifests=purged.manifests, repositories=purged.done)
    if purged.has_more:
        box.queue.purge([repository_id])
    return asdict(purged)


@application.task(name=routes.PURGE_NAMESPACE, ignore_result=False)
def purge_namespace(namespace_id: int) -> dict[str, Any]:
    """Purge one deleted namespace, given by ID.  Returns what one turn did.  Idempotent."""
    checked_id(namespace_id, "namespace")
    box = _box(started=f"purge-namespace:{namespace_id}")
    purged = purge.purge_namespace(box, namespace_id, budget_s=box.settings.task_budget_s)
    metrics.freed(namespaces=purged.done)
    if purged.has_more:
        box.queue.purge([], [namespace_id])
    return asdict(purged)


@application.task(name=routes.FIND_RETENTION, max_retries=0)
def find_retention() -> None:
    """Enqueue the retention rules of each repository for which they are due."""
    try:
        retain.enqueue_retention(_box())
    except BrokerUnavailable as error:
        log.warning("retention.gave_up", error=str(error))


@application.task(name=routes.RETAIN, ignore_result=False)
def retain_repository(repository: int | str) -> dict[str, Any]:
    """Run the retention rules of one repository, given by ID or as `namespace/name`.

    Returns what one turn ended.  Idempotent.
    """
    repository_id = find_repository(repository).id
    box = _box(started=f"retain:{repository_id}")
    retained = retain.retain_repository(box, repository_id, budget_s=box.settings.task_budget_s)
    if retained.has_more:
        box.queue.retain([repository_id])
    return asdict(retained)


@application.task(name=routes.LOAD_IN_USE)
def load_in_use() -> None:
    """Load the list of digests in use, if a source is configured."""
    in_use.load_in_use(_box().settings)


@application.task(name=routes.REVIEW)
def review_blobs() -> None:
    """Review the blobs that lost a reference, and retire those without any."""
    box = _box(started="review")
    retired = review.review(box, budget_s=box.settings.task_budget_s)
    metrics.freed(blobs=retired.blobs)
    if retired.has_more:
        box.queue.review()


@application.task(name=routes.ERASE)
def erase_objects() -> None:
    """Erase the objects of tombstones, and purge the trash."""
    box = _box(started="erase")
    cleared = erase.erase(box, budget_s=box.settings.task_budget_s)
    metrics.freed(objects=cleared.objects, bytes=cleared.bytes)
    if cleared.has_more:
        box.queue.erase()


@application.task(name=routes.REPORTS)
def deliver_reports() -> None:
    """Delete the security reports of dead manifests at the scanner."""
    box = _box(started="reports")
    if reports.deliver_reports(box, budget_s=box.settings.task_budget_s).has_more:
        box.queue.reports()


@application.task(name=routes.WEBHOOKS)
def deliver_webhooks() -> None:
    """Send the events that are owed to webhooks, for one turn.  The next tick continues."""
    box = _box()
    send_to_webhooks(box, budget_s=box.settings.task_budget_s)


@application.task(name=routes.PRUNE)
def prune() -> None:
    """Delete old rows, retry parked messages, and send periodic tasks that are late, for one turn."""
    box = _box()
    periodic.send_late(application)
    pruning.prune(box, budget_s=box.settings.task_budget_s)
    retry_parked(lambda events: react(box, events))


@application.task(name=routes.SWEEP)
def sweep_untraced() -> None:
    """Sweep for orphans.  Enqueues another turn if the pass is not over."""
    box = _box()
    if any(kind.has_more for kind in sweeping.sweep(box, budget_s=box.settings.task_budget_s)):
        sweep_untraced.apply_async(countdown=sweeping.PAUSE_S)


@application.task(name=routes.DELETE_TAG, ignore_result=False)
def delete_tag(namespace: str, repository: str, tag: str) -> dict[str, Any] | None:
    """Delete a tag.  Returns its description, or None if there is no such tag."""
    return tags.delete_tag(_box(), namespace, repository, tag)


@application.task(name=routes.DELETE_TAG_PERMANENTLY, ignore_result=False)
def delete_tag_permanently(
    namespace: str,
    repository: str,
    tag: str,
    digest: str,
    is_alive: bool = False,
    include_submanifests: bool = False,
) -> list[dict[str, Any]]:
    """End the recovery window of a deleted tag; with `is_alive`, delete a live tag permanently."""
    return tags.delete_tag_permanently(
        _box(),
        namespace,
        repository,
        tag,
        digest,
        is_alive=is_alive,
        include_submanifests=include_submanifests,
    )


@application.task(name=routes.RESTORE_TAG, ignore_result=False)
def restore_tag(namespace: str, repository: str, tag: str, digest: str) -> dict[str, Any]:
    """Point a tag at a manifest again to which it pointed before."""
    return tags.restore_tag(_box(), namespace, repository, tag, digest)


@application.task(name=routes.DELETE_REPOSITORY, ignore_result=False)
def delete_repository(repository: str) -> dict[str, Any]:
    """Mark a repository, given as `namespace/name`, for deletion; it can be restored within its grace."""
    return asdict(deletions.delete_repository(_box(), repository))


@application.task(name=routes.RESTORE_REPOSITORY, ignore_result=False)
def restore_repository(repository: str, name: str | None = None) -> dict[str, Any]:
    """Undo the latest deletion of a repository; `name` gives it another name in its namespace."""
    return asdict(deletions.restore_repository(_box(), repository, name=name))


@application.task(name=routes.DELETE_NAMESPACE, ignore_result=False)
def delete_namespace(namespace: str) -> dict[str, Any]:
    """Mark a namespace for deletion, with everything in it; it can be restored within its grace."""
    return asdict(deletions.delete_namespace(_box(), namespace))


@application.task(name=routes.RESTORE_NAMESPACE, ignore_result=False)
def restore_namespace(namespace: str, new_name: str | None = None) -> dict[str, Any]:
    """Undo the latest deletion of a namespace; `new_name` gives it another name."""
    return asdict(deletions.restore_namespace(_box(), namespace, new_name=new_name))
