"""The configuration.  Every environment variable is read once; all problems are reported together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.cache.keys import KINDS
from model.policy import Policy
from model.window import ALWAYS, parse_window
from worker.environment import PREFIX, SettingsError, read, setting
from worker.parsers import flag, locations, number, one_of, text
from worker.settings_http import HttpSettings
from worker.settings_pace import PaceSettings
from worker.settings_servers import ServerSettings

__all__ = ["PREFIX", "Settings", "SettingsError"]

_DAY_S = 86_400

# Fields that have one variable for each kind of cache entry: this prefix, followed by the kind.
_PER_KIND = {"cache_ttls": PREFIX + "CACHE_TTL_", "cache_sizes": PREFIX + "CACHE_MAX_BYTES_"}


@dataclass(frozen=True)
class Settings(ServerSettings, PaceSettings, HttpSettings):
    """Every setting; the variable is `DREDGE_` and the field's name in capitals."""

    storage: dict[str, str] = setting(
        dict,
        locations,
        "locations: `name=url,…` with a path, file:///path or s3://bucket/prefix",
    )
    upload_location: str = setting(
        "local_us", text, "location where new blobs are written; not needed with one location"
    )

    referrers: str = setting(
        "pin",
        one_of("pin", "cascade"),
        "`pin`: signatures keep their image (as Quay); `cascade`: they are collected with it",
    )
    referrer_grace_s: int = setting(
        86_400, number(0, 365 * _DAY_S), "cascade: how long a referrer waits for its subject, seconds"
    )
    immutable_tags: bool = setting(True, flag, "tags may be made immutable")
    immutable_tags_can_expire: bool = setting(
        False, flag, "immutable tags may have an expiry, and are collected after it"
    )
    permanently_delete_tags: bool = setting(
        True, flag, "tags may be deleted permanently, without a recovery window"
    )
    reset_child_manifest_expiration: bool = setting(
        True, flag, "deleting an index's tag ends its children's temporary tags"
    )
    upload_ttl_s: int = setting(
        2 * _DAY_S, number(60, 365 * _DAY_S), "age at which an unfinished upload is garbage, seconds"
    )
    push_ttl_s: int = setting(
        3600, number(1, 7 * _DAY_S), "how long a pushed blob or manifest waits for its tag, seconds"
    )

    scan_interval_s: float = setting(
        30.0, number(0.2, _DAY_S, float), "seconds between scans for repositories with garbage"
    )
    scan_slice: int = setting(100_000, number(1, 10_000_000), "repositories read in one scan")
    scan_limit: int = setting(5_000, number(1, 1_000_000), "repositories enqueued by one scan")
    namespace_share: int = setting(
        100, number(1, 1_000_000), "repositories of one namespace that wait in the queue at most"
    )
    batch_repositories: int = setting(
        32, number(1, 1_000), "small repositories collected in one transaction at most"
    )
    batch_manifests: int = setting(
        2_000, number(1, 100_000), "manifests (and tags) in one transaction at most"
    )
    transaction_target_ms: int = setting(
        350, number(10, 60_000), "how long the transaction of a batch should take, milliseconds"
    )
    task_budget_s: float = setting(
        5.0, number(0.1, 3600, float), "a task gives up its turn after this long, seconds"
    )
    review_batch: int = setting(5_000, number(1, 100_000), "blob candidates judged in one transaction")
    erase_batch: int = setting(1_000, number(1, 10_000), "objects erased under one lock")
    erase_grace_s: int = setting(
        0, number(0, 30 * _DAY_S), "how long a dead object waits before it is erased, seconds"
    )
    quarantine_s: int | None = setting(
        None,
        number(0, 365 * _DAY_S),
        "how long a dead object stays in the trash before it is purged, seconds; 0: erased at once; empty: a"
        " day on file systems, on versioned buckets, and where a Quay writes",
    )
    erase_rate: int = setting(
        0, number(0, 1_000_000), "objects erased per second and process at most; 0: as fast as storage goes"
    )
    purge_grace_s: int = setting(
        7 * _DAY_S,
        number(0, 3650 * _DAY_S),
        "how long a deleted repository or namespace can be restored before it is purged, seconds",
    )
    purge_interval_s: float = setting(
        60.0, number(0.2, _DAY_S, float), "seconds between scans for deleted repositories to purge"
    )
    autoprune: bool = setting(
        False, flag, "run Quay's auto-prune policies of namespaces and repositories (as FEATURE_AUTO_PRUNE)"
    )
    autoprune_default: str = setting(
        "", text, "auto-prune policy of every repository, JSON (as DEFAULT_NAMESPACE_AUTOPRUNE_POLICY)"
    )
    retention_file: str = setting("", text, "file of retention rules, YAML; empty: none")
    retention_interval_s: int = setting(
        3600, number(10, 365 * _DAY_S), "seconds between two runs of the rules on a repository"
    )
    expiry_warning_days: int = setting(
        0, number(0, 3650), "announce that a tag will end so many days before; 0: never"
    )
    in_use_source: str = setting(
        "",
        text,
        "source of the list of digests in use: a path, a URL, or `kubernetes`; empty: none",
        secret=True,
    )
    in_use_max_age_s: int = setting(
        3600, number(10, 365 * _DAY_S), "age at which the list of digests in use stops all expiry, seconds"
    )
    in_use_interval_s: float = setting(
        300.0, number(1, _DAY_S, float), "seconds between two loads of the list of digests in use"
    )
    sweep_interval_s: float = setting(
        21_600.0, number(1, 365 * _DAY_S, float), "seconds between sweeps for orphans"
    )
    sweep_delay_s: int = setting(
        86_400,
        number(0, 365 * _DAY_S),
        "seconds between the pass that marks an orphan and the one that confirms it",
    )
    sweep_share: float = setting(
        10.0,
        number(0, 100, float),
        "percent of a location's objects that may be unknown to the rows; with more the sweep stops there until"
        " `dredge sweep --accept`; 0: any share",
    )
    history_days: int = setting(90, number(1, 3650), "days that the history of collections is kept")
    event_retention_s: int = setting(
        3600, number(1, 30 * _DAY_S), "how long published events stay in the outbox, seconds"
    )

    breaker_share: float = setting(
        25.0,
        number(0, 100, float),
        "percent of a namespace's (or the registry's) manifests that may become due in an hour; 0: all",
    )
    breaker_manifests: int = setting(
        1_000, number(1, 1_000_000_000), "fewer manifests than this never open the breaker"
    )

    metrics_port: int = setting(0, number(0, 65_535), "port of the Prometheus endpoint of a worker; 0: none")
    metrics_host: str = setting("127.0.0.1", text, "address that the Prometheus endpoint listens on")
    log_format: str = setting("text", one_of("text", "json"), "`text` for people, `json` for machines")
    log_level: str = setting("info", one_of("debug", "info", "warning", "error"), "minimum log level")

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, required: Sequence[str] = ()) -> Settings:
        """Read every `DREDGE_*` variable.  Raises `SettingsError` with all problems at once.

        `required` names the fields that the process cannot run without.
        """
        values, problems = read(cls, environ, per_kind=_PER_KIND, kinds=KINDS)
        storage = values.get("storage") or {}
        if len(storage) == 1:
            values.setdefault("upload_location", next(iter(storage)))
        settings = cls(**values)
        problems += settings._contradictions()
        problems += [
            f"{PREFIX}{name.upper()}: not set; see `dredge check`, or use `dredge up`"
            for name in required
            if not getattr(settings, name) and not any(PREFIX + name.upper() in each for each in problems)
        ]
        if problems:
            raise SettingsError(problems)
        return settings

    def _contradictions(self) -> list[str]:
        found = []
        if self.storage and self.upload_location not in self.storage:
            found.append(f"{PREFIX}UPLOAD_LOCATION: {self.upload_location} is not one of {PREFIX}STORAGE")
        return found + self._missing_servers()

    @property
    def policy(self) -> Policy:
        """Return the settings that the model needs."""
        return Policy(
            referrers="cascade" if self.referrers == "cascade" else "pin",
            referrer_grace_ms=self.referrer_grace_s * 1000,
            immutable_tags=self.immutable_tags,
            immutable_tags_can_expire=self.immutable_tags_can_expire,
            permanently_delete_tags=self.permanently_delete_tags,
            reset_child_manifest_expiration=self.reset_child_manifest_expiration,
            upload_ttl_ms=self.upload_ttl_s * 1000,
            push_ttl_ms=self.push_ttl_s * 1000,
            security_reports=bool(self.clair_url),
            erase_grace_ms=self.erase_grace_s * 1000,
            purge_grace_ms=self.purge_grace_s * 1000,
            breaker_share=self.breaker_share,
            breaker_manifests=self.breaker_manifests,
            window=parse_window(self.window) if self.window else ALWAYS,
        )
