"""The operator's choices that decide what is garbage and what a tag operation may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.window import ALWAYS, Window

Referrers = Literal["pin", "cascade"]

HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


@dataclass(frozen=True)
class Policy:
    """Rules that the configuration sets.  Times are in milliseconds.

    - `referrers`: with `pin` (as Quay), a referrer has a hidden tag without an end, so it stays and keeps
      its subject.  With `cascade`, a referrer is kept by its subject or by a visible tag of its own, and by
      nothing else.
    - `ignores_holds`: an operator collects despite holds, and outside the `window`.
    - `breaker_share`: percent of a namespace's manifests that may become due within an hour; 0 turns the
      breaker off.  Fewer than `breaker_manifests` manifests never open it.
    """

    referrers: Referrers = "pin"
    referrer_grace_ms: int = 24 * HOUR_MS
    immutable_tags: bool = True
    immutable_tags_can_expire: bool = False
    permanently_delete_tags: bool = True
    reset_child_manifest_expiration: bool = True
    upload_ttl_ms: int = 48 * HOUR_MS
    push_ttl_ms: int = HOUR_MS
    security_reports: bool = False
    erase_grace_ms: int = 0
    ignores_holds: bool = False
    purge_grace_ms: int = WEEK_MS
    breaker_share: float = 0.0
    breaker_manifests: int = 1_000
    window: Window = ALWAYS

    @property
    def protects_immutable(self) -> bool:
        """Return whether an immutable tag is never collected, even after its end."""
        return self.immutable_tags and not self.immutable_tags_can_expire


DEFAULT = Policy()
