"""Tag rows: alive, restorable, beyond the window, hidden and temporary."""

from __future__ import annotations

from model.db.bulk_load import Loader, LookupRows, take_ids
from worker.local.sample.rows import HOUR_MS, Repository, timestamp
from worker.local.sample.shape import Dice, Shape
from worker.local.sample.unit import Fate, Unit

_DAY_MS = 24 * HOUR_MS


class Tags:
    """Adds the tags of units to the loader."""

    def __init__(self, shape: Shape, dice: Dice, loader: Loader, lookups: LookupRows, now_ms: int) -> None:
        self._shape, self._dice, self._rows, self._lookups = shape, dice, loader.rows, lookups
        self._kind_id = lookups["tagkind", "tag"]
        self._now_ms = now_ms
        self._ids = take_ids("tag")
        self.made = 0

    def unit(self, repository: Repository, unit: Unit, fate: Fate, names: int) -> None:
        """Add the visible tags of a unit (`names` of them), its signature's tag, and the hidden ones."""
        manifest_id = repository.manifests[unit.top.digest]
        end = self._end(repository, fate)
        for n in range(names):
            self._visible(repository, manifest_id, self._name(repository, n, fate), end, fate)
        if unit.cosign:
            name = unit.top.digest.replace(":", "-") + ".sig"
            self._add(repository, name, repository.manifests[unit.cosign.digest], end, visible=True)
        for referrer in unit.referrers:
            self._temporary(repository, repository.manifests[referrer.digest], end_ms=None)
        # Temporary tags hold children for an hour; a backlog still has some of them.
        if unit.top.children and fate is Fate.EXPIRED and self._dice.chance(0.3):
            for child in unit.top.children:
                self._temporary(repository, repository.manifests[child.digest], end_ms=end)

    def _end(self, repository: Repository, fate: Fate) -> int | None:
        """Return when a unit's tags ended, never so near the window's end that a slow test crosses it."""
        window_ms = repository.window_s * 1000
        if fate is Fate.EXPIRED:
            age = 60_000 + int(min(self._dice.expovariate(1 / 14), 300) * _DAY_MS)
            return self._now_ms - window_ms - age
        if fate is Fate.RECOVERABLE:
            return self._now_ms - 1000 - self._dice.randrange(window_ms * 9 // 10)
        if self._dice.chance(0.05):
            return self._now_ms + self._dice.randrange(_DAY_MS, 90 * _DAY_MS)
        return None

    def _name(self, repository: Repository, n: int, fate: Fate) -> str:
        if n == 1 and fate is Fate.EXPIRED:
            return "latest"
        if n == 1 and fate is Fate.ALIVE and not repository.has_latest:
            repository.has_latest = True
            return "latest"
        repository.tags += 1
        return f"v{repository.tags // 100}.{repository.tags % 100}"

    def _visible(
        self, repository: Repository, manifest_id: int, name: str, end: int | None, fate: Fate
    ) -> None:
        if name == "latest" and end is not None:
            # A name can have only one end in each millisecond.
            while end in repository.spent_ends:
                end -= 1
            repository.spent_ends.add(end)
        self.made += 1
        tag_id = self._add(repository, name, manifest_id, end, visible=True, fate=fate)
        if repository.notification_id and self._dice.chance(0.5):
            method = self._lookups["externalnotificationmethod", "webhook"]
            self._rows["tagnotificationsuccess"].append((repository.notification_id, tag_id, method))
        counted = fate is Fate.ALIVE if name == "latest" else self._dice.chance(0.5)
        if self._shape.extras and counted:
            self._pulls(repository, name)

    def _pulls(self, repository: Repository, name: str) -> None:
        when = timestamp(self._now_ms - self._dice.randrange(60) * _DAY_MS)
        pulls = int(self._dice.lognormal(20, 900))
        self._rows["tagpullstatistics"].append((repository.id, name, pulls, when, None))

    def _temporary(self, repository: Repository, manifest_id: int, *, end_ms: int | None) -> None:
        self._add(repository, f"$temp-{self._dice.name()}", manifest_id, end_ms, visible=False)

    def _add(
        self,
        repository: Repository,
        name: str,
        manifest_id: int,
        end: int | None,
        *,
        visible: bool,
        fate: Fate | None = None,
    ) -> int:
        start = (
            min(end or self._now_ms, self._now_ms) - int(self._dice.expovariate(1 / 60) * _DAY_MS) - HOUR_MS
        )
        immutable = fate is Fate.ALIVE and end is None and self._dice.chance(0.01)
        id = next(self._ids)
        self._rows["tag"].append(
            (id, name, repository.id, manifest_id, start, end, not visible, False, self._kind_id, immutable)
        )
        return id
