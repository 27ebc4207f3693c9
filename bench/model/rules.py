"""The rules of the protocol, by name.  The protocol follows all of them; a planted bug removes one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """The rules; `atomic` and `lossy` describe the store and the network.

    `short`: objects that can be put back are fenced for less time than a request may need.
    """

    quarantine: bool = True
    atomic: bool = True
    lossy: bool = False
    freezes: bool = False
    short: bool = False
    quay: bool = False
    # Each of these is a rule of the protocol.
    digest_lock: bool = True
    fence_stops_pushes: bool = True
    fence_outlives_retry: bool = True
    look_before_send: bool = True
    late_is_counted: bool = True
    short_needs_trash: bool = True
    one_attempt: bool = True
    leases: bool = True
    look_at_references: bool = True
    look_by_store: bool = True
    unready_rows_count: bool = True
    kept_after_cancel: bool = True
    kept_after_return: bool = True
    trash_kept_beside_live: bool = True
    identity: bool = True
    lock_manifests: bool = True
    record_skipped: bool = True
    window_read_again: bool = True
    candidates_without_looking: bool = True
    judge_after_lock: bool = True
    tombstone_with_rows: bool = True


PROTOCOL = Rules()
