"""Names of earlier versions, in the environment and in the output for machines.  They keep working."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Settings that changed nothing.  A deployment that still has them starts.
SETTINGS = frozenset({"DREDGE_QUOTA"})
# Each key of a result, and its former name.
SWEPT = {"confirmed": "condemned"}
COLLECTED = {"blob_candidates": "lost_blobs"}
# Each finding of fsck, and its former name.
FINDINGS = {
    "blob-orphaned": "blob-without-a-trace",
    "label-orphaned": "label-without-a-trace",
    "manifest-orphaned": "manifest-dead-without-a-trace",
    "object-orphaned": "object-without-a-trace",
}


def with_former_names(result: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the result with each value also under its former name."""
    return {**result, **{former: result[name] for name, former in names.items()}}


def with_former_findings(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings, and those that were renamed again under the former name, last.

    `alias_of` names the finding of today.  A script that adds the counts leaves out findings that have it.
    """
    renamed = [finding for finding in findings if finding["name"] in FINDINGS]
    return [
        *findings,
        *({**finding, "name": FINDINGS[finding["name"]], "alias_of": finding["name"]} for finding in renamed),
    ]
