"""The choices an operator makes that change what is garbage or what a tag operation may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.window import ALWAYS, Window

Referrers = Literal["pin", "cascade"]

HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


@dataclass(frozen=True)
class Policy:
    """Immutable switches, passed down from the configuration; times in milliseconds.

    `referrers`: with `pin` (Quay's behaviour) a referrer's never-ending hidden tag keeps the
    referrer and the referrer keeps its subject; with `cascade` a referrer lives exactly as long
    as its subject or a visible tag of its own.  `ignores_holds`: an operator collects despite a hold, and
    outside of the `window`.
    `breaker_share` (percent; 0 switches the breaker off) and `breaker_manifests`: so much of a namespace
    may become due within an hour.
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
        """True where an immutable tag is never collected, whatever its end."""
        return self.immutable_tags and not self.immutable_tags_can_expire


DEFAULT = Policy()
