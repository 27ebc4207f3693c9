"""Send events to webhooks: claim deliveries, send them outside a transaction, and settle them one by one."""

from __future__ import annotations

from dataclasses import dataclass

from model.events.deliveries import (
    FIRST_RETRY_MS,
    Delivery,
    claim_deliveries,
    fail_delivery,
    find_webhooks,
    release_deliveries,
    settle_delivery,
)
from worker import logs
from worker.events.webhook import TIMEOUT_S, NotDelivered, send
from worker.jobs.context import JobContext
from worker.jobs.pace import Budget

log = logs.logger("dredge.webhooks")

# Maximum deliveries of each webhook in a batch.
BATCH = 10
# Longer than a batch whose requests all use their timeouts.
LEASE_MS = int(BATCH * 4 * TIMEOUT_S * 1000)


@dataclass(frozen=True)
class SentDeliveries:
    """The numbers of deliveries of one turn."""

    sent: int = 0
    failed: int = 0
    has_more: bool = False


def deliver_webhooks(context: JobContext, *, budget_s: float) -> SentDeliveries:
    """Send due deliveries until none is left or the budget is used up (then `has_more` is True).

    Does nothing without a configured key.  After a webhook's first failure the rest of its batch waits, so
    an endpoint that is down costs one timeout per turn.  After a crash, claimed deliveries are sent again
    when their lease ends.
    """
    if not context.settings.webhook_key:
        return SentDeliveries()
    budget = Budget(budget_s)
    for name in find_webhooks():
        context.starts[f"webhook {name}"].begin()
    sent = failed = 0
    while True:
        claimed = _claim(context)
        down: set[str] = set()
        unsent: list[Delivery] = []
        for delivery in claimed:
            if delivery.webhook in down or not budget:
                unsent.append(delivery)
            elif _deliver(context, delivery):
                sent += 1
            else:
                failed += 1
                down.add(delivery.webhook)
        release_deliveries([each for each in unsent if each.webhook in down], after_ms=FIRST_RETRY_MS)
        release_deliveries([each for each in unsent if each.webhook not in down], after_ms=0)
        if not claimed or not budget:
            return SentDeliveries(sent, failed, has_more=bool(claimed))


def _claim(context: JobContext) -> list[Delivery]:
    starts = {name: context.starts[f"webhook {name}"] for name in find_webhooks()}
    claimed = claim_deliveries(
        {name: start.go_on() for name, start in starts.items()}, limit=BATCH, lease_ms=LEASE_MS
    )
    for name, start in starts.items():
        start.reach(min((each.key for each in claimed if each.webhook == name), default=None))
    return claimed


def _deliver(context: JobContext, delivery: Delivery) -> bool:
    """Send one delivery and record the result."""
    settings = context.settings
    try:
        send(delivery, key=settings.webhook_key, networks=settings.webhook_networks)
    except NotDelivered as error:
        log.warning("webhook.not_delivered", webhook=delivery.webhook, type=delivery.type, error=str(error))
        fail_delivery(delivery, str(error), most_tries=settings.webhook_tries)
        return False
    settle_delivery(delivery)
    return True
