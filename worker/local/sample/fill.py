"""Fill a registry: namespaces, their repositories, and units until all manifests are written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.db import clock
from model.db.bulk_load import (
    Loader,
    LookupRows,
    analyze,
    find_lookup_rows,
    has_namespace_like,
    spare_foreign_key_checks,
    take_ids,
)
from model.db.connection import transaction
from model.errors import BadInput
from worker.local.sample.content import Content, WriteObject
from worker.local.sample.image import Studio
from worker.local.sample.rows import Repository, Rows, timestamp
from worker.local.sample.shape import Dice, Shape, shares
from worker.local.sample.tags import Tags
from worker.local.sample.unit import Composer, Fate, Unit


@dataclass(frozen=True)
class Filled:
    """The numbers of rows and objects written."""

    namespaces: int
    repositories: int
    manifests: int
    tags: int
    blobs: int
    rows: int


@dataclass(frozen=True)
class Namespace:
    """A namespace with its recovery window."""

    id: int
    name: str
    window_s: int


def fill(
    shape: Shape,
    *,
    location: str = "local_us",
    write: WriteObject | None = None,
    progress: Callable[[int], None] = lambda manifests: None,
) -> Filled:
    """Add a sample to the registry, in one transaction; `write(path, content)` stores its objects.

    The same shape and seed give the same names, digests, sizes and links; IDs and times are the database's.
    Raises `BadInput` and changes nothing if the sample of this seed exists already.
    """
    with transaction():
        if has_namespace_like(shape.prefix):
            raise BadInput(f"The registry holds a sample of seed {shape.seed}: choose another --seed")
        spare_foreign_key_checks()
        filler = _Filler(shape, clock.now_ms(), find_lookup_rows(location), write, progress)
        filler.run()
    analyze()
    return filler.filled()


class _Filler:
    def __init__(
        self,
        shape: Shape,
        now_ms: int,
        lookups: LookupRows,
        write: WriteObject | None,
        progress: Callable[[int], None],
    ) -> None:
        self._shape, self._now_ms, self._lookups, self._progress = shape, now_ms, lookups, progress
        self._dice = dice = Dice(shape.seed)
        self._loader = loader = Loader()
        self._content = Content(shape, dice, loader, lookups.location_id, write)
        self._studio = Studio(shape, dice, self._content)
        self._composer = Composer(shape, dice, self._studio)
        self._rows = Rows(shape, dice, loader, lookups, now_ms)
        self._tags = Tags(shape, dice, loader, lookups, now_ms)
        self._repository_ids = take_ids("repository", block=1_000)
        self._notification_ids = take_ids("repositorynotification", block=100)
        self._promotable: deque[tuple[int, Unit]] = deque(maxlen=2_000)
        self._made = self._owed = 0

    def run(self) -> None:
        shape, dice = self._shape, self._dice
        sizes = shares(dice, shape.manifests, shape.repositories, alpha=1.1, least=1)
        owners = max(1, round(shape.repositories**0.7))
        held = shares(dice, shape.repositories, owners, alpha=1.2, least=1)
        remaining = iter(sizes)
        for number, (namespace, count) in enumerate(zip(self._namespaces(), held, strict=False), start=1):
            blobs: dict[int, int] = {}
            for n in range(count):
                last = number == owners and n == count - 1
                repository = self._repository(namespace, n, next(remaining), last)
                blobs |= repository.blobs
            self._rows.quota("quotanamespacesize", namespace.id, blobs)
        self._loader.flush()
        self._progress(self._made)

    def filled(self) -> Filled:
        written = self._loader.written
        return Filled(
            written["user"],
            written["repository"],
            written["manifest"],
            written["tag"],
            written["imagestorage"],
            sum(written.values()),
        )

    def _namespaces(self) -> Iterator[Namespace]:
        shape, dice = self._shape, self._dice
        seen = timestamp(self._now_ms)
        for number, id in enumerate(take_ids("user", block=1_000), start=1):
            name = f"{shape.prefix}{number}"
            window_s = shape.windows_s[(number - 1) % len(shape.windows_s)]
            email = f"{name}@example.invalid"
            self._loader.rows["user"].append(
                (id, dice.name(), name, email, True, True, False, False, 0, seen, window_s, True)
            )
            yield Namespace(id, name, window_s)

    def _repository(self, namespace: Namespace, n: int, size: int, last: bool) -> Repository:
        dice, lookups = self._dice, self._lookups
        id, name = next(self._repository_ids), f"app-{n + 1}"
        visibility = lookups["visibility", "public" if dice.chance(0.2) else "private"]
        kind = lookups["repositorykind", "image"]
        self._loader.rows["repository"].append(
            (id, namespace.id, name, visibility, dice.name(), kind, False, 0)
        )
        repository = Repository(id, name, namespace.window_s, self._studio.stack())
        if self._shape.extras and dice.chance(0.05):
            repository.notification_id = self._notification(id)
        # A unit may need more manifests than are left here: the next repositories get fewer.
        self._owed += size
        while self._owed > 0:
            self._unit(repository)
        if last:
            while self._made < self._shape.manifests:
                self._unit(repository)
        self._rows.quota("quotarepositorysize", id, repository.blobs)
        self._loader.flush_if_full()
        return repository

    def _notification(self, repository_id: int) -> int:
        id = next(self._notification_ids)
        event = self._lookups["externalnotificationevent", "repo_push"]
        method = self._lookups["externalnotificationmethod", "webhook"]
        config = '{"url":"http://example.invalid/hook"}'
        self._loader.rows["repositorynotification"].append(
            (id, self._dice.name(), repository_id, event, method, config, "{}")
        )
        return id

    def _unit(self, repository: Repository) -> None:
        shape, dice = self._shape, self._dice
        fate = self._composer.fate(repository.window_s)
        room = shape.manifests - self._made
        unit = self._promoted(repository, room) if fate is Fate.ALIVE else None
        if unit is None:
            unit = self._composer.unit(repository.id, repository.stack, room)
            if fate is Fate.ALIVE:
                self._promotable.append((repository.id, unit))
        for image in unit.manifests:
            self._rows.manifest(repository, image)
        self._made += len(unit.manifests)
        self._owed -= len(unit.manifests)
        self._tags.unit(repository, unit, fate, self._names())
        if dice.chance(shape.aborted):
            self._aborted(repository, unit)
        self._loader.flush_if_full()
        self._progress(self._made)

    def _names(self) -> int:
        """Return how many visible tags the next unit gets."""
        if self._shape.tags is None:
            return 2 if self._dice.chance(0.3) else 1
        due = self._shape.tags * self._made / self._shape.manifests - self._tags.made
        return max(1, round(due))

    def _promoted(self, repository: Repository, room: int) -> Unit | None:
        """Push an alive image of another repository here, so that two repositories share its digests."""
        shape = self._shape
        share = min(shape.promoted / max(1 - shape.expired, 0.1), 0.5)
        if not self._promotable or not self._dice.chance(share):
            return None
        home, unit = self._dice.choice(self._promotable)
        fits = len(unit.manifests) <= room and home != repository.id
        return unit if fits and unit.top.digest not in repository.manifests else None

    def _aborted(self, repository: Repository, unit: Unit) -> None:
        """Write a push that left blobs but no manifest, usually long ago, sometimes a moment ago."""
        expired = self._dice.chance(0.8)
        for _ in range(self._dice.choice((1, 1, 1, 2))):
            self._rows.upload_marker(repository, self._content.layer(), expired=expired)
        pieces = unit.top.pieces
        if pieces and self._dice.chance(0.3):
            self._rows.upload_marker(repository, self._dice.choice(pieces), expired=True)
        if self._dice.chance(0.2):
            self._rows.unfinished_upload(repository, self._lookups.location_id)
