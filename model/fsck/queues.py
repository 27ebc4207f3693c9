"""Invariants of the other rows that wait for a stage."""

from __future__ import annotations

from model.fsck.check import Check

CHECKS = (
    Check(
        "event-twice",
        "violation",
        "two events of the outbox have one id: consumers drop the second",
        "Give one of them a new event_id.",
        "SELECT event_id FROM dredge_event GROUP BY event_id HAVING count(*) > 1",
    ),
    Check(
        "event-unpublished",
        "pending",
        "an event that has not been published",
        "The relay publishes it; look at the broker if they stay.",
        "SELECT type || ' ' || subject FROM dredge_event WHERE published_ms IS NULL",
    ),
    Check(
        "report-debt",
        "pending",
        "a security report to delete at the scanner",
        "The reports task delivers it; look at DREDGE_CLAIR_URL if they stay.",
        "SELECT digest FROM dredge_report_debt",
    ),
    Check(
        "repository-failing",
        "pending",
        "a repository whose collection failed",
        "`dredge status` shows the error; it is tried again by itself.",
        """
        SELECT 'repository ' || repository_id || ' ' || last_error FROM dredge_due
            WHERE last_error IS NOT NULL
        """,
    ),
    Check(
        "location-suspended",
        "violation",
        "a storage location that is not the store that the rows mean: nothing is erased or swept there",
        "`dredge check` says why; it is lifted by itself when the right store is back.",
        "SELECT location || ' ' || problem FROM dredge_storage WHERE problem IS NOT NULL",
    ),
    Check(
        "object-stays-in-trash",
        "pending",
        "an object of the trash that could not be put back or purged",
        "It is tried again by itself; look at its storage location if they stay.",
        """
        SELECT location || ' ' || path || ' ' || coalesce(last_error, '') FROM dredge_quarantine
            WHERE tries > 0
        """,
    ),
)
