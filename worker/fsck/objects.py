"""Compare the objects of a location with the rows that reference them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from model import storage_paths as paths
from model.fsck import objects
from model.fsck.check import EXAMPLES, Check, Finding, found
from model.gc.orphans.objects import find_known, find_marked
from model.gc.quarantine import find_quarantined
from worker.storage.base import NoSuchObject, ObjectInfo, Store, StoreUnavailable

T = TypeVar("T")
PAGE = 1_000
MARKED = "object"

MISSING = Check(
    "object-missing",
    "violation",
    "a blob that is in use has no object",
    "The image cannot be pulled: push it again, or restore the object from a backup.",
    "",
)
IN_TRASH = Check(
    "object-in-trash",
    "pending",
    "a blob that is in use has its object in the trash",
    "The eraser puts it back in its next turn, or `dredge undelete` now.",
    "",
)
DIFFERS = Check(
    "object-size-differs",
    "violation",
    "an object is not as long as its row says",
    "Pulls will fail their digest: push the image again, or restore the object from a backup.",
    "",
)
CORRUPT = Check(
    "object-bytes-differ",
    "violation",
    "an object's bytes do not have its digest",
    "Pulls will fail their digest: push the image again, or restore the object from a backup.",
    "",
)
UNKNOWN = Check(
    "object-orphaned",
    "violation",
    "an object that no row knows: nothing will erase it",
    "`dredge sweep` finds it (two passes).",
    "",
)
WAITING = Check(
    "object-unknown",
    "pending",
    "an object that no row knows, and that is new or was seen by a sweep already",
    "The sweep after next erases it.",
    "",
)
UNREADABLE = Check(
    "location-unreadable",
    "violation",
    "a location could not be listed: nothing is known about its objects",
    "`dredge check` says what is wrong with it.",
    "",
)
CHECKS = (MISSING, IN_TRASH, DIFFERS, CORRUPT, UNKNOWN, WAITING, UNREADABLE)


class Tally:
    """Counts the offenders of each check, and keeps the first few."""

    def __init__(self, *checks: Check) -> None:
        self._checks = checks
        self._count: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}
        self.objects = 0
        self.bytes = 0

    def add(self, check: Check, offender: str) -> None:
        """Count one more offender."""
        self._count[check.name] = self._count.get(check.name, 0) + 1
        examples = self._examples.setdefault(check.name, [])
        if len(examples) < EXAMPLES:
            examples.append(offender)

    def findings(self) -> list[Finding]:
        """Return one finding per check."""
        return [
            found(c, self._count.get(c.name, 0), tuple(self._examples.get(c.name, ()))) for c in self._checks
        ]


@dataclass(frozen=True)
class Location:
    """A location, whose listing is merged with the rows of its objects."""

    name: str
    store: Store
    tally: Tally
    young_from_ms: int
    deep: bool

    def check(self) -> None:
        """Walk the listing and the rows by path; report only differences that a second check confirms."""
        missing: list[objects.Expected] = []
        unknown: list[ObjectInfo] = []
        for said, seen in merged(objects.stream_expected(self.name), self._listed()):
            if seen is None and said is not None and said.needed:
                missing.append(said)
            elif said is None and seen is not None:
                unknown.append(seen)
            elif said is not None and seen is not None and said.needed:
                self._compare(said, seen)
            if len(missing) >= PAGE:
                self._confirm_missing(missing)
                missing = []
            if len(unknown) >= PAGE:
                self._confirm_unknown(unknown)
                unknown = []
        self._confirm_missing(missing)
        self._confirm_unknown(unknown)

    def _listed(self) -> Iterator[ObjectInfo]:
        for seen in self.store.list():
            self.tally.objects += 1
            self.tally.bytes += seen.size
            yield seen

    def _compare(self, said: objects.Expected, seen: ObjectInfo) -> None:
        shown = f"{self.name}:{said.path}"
        if said.size is not None and said.size != seen.size:
            if said.blob_id in objects.still_needed([said.blob_id or 0], self.name):
                self.tally.add(DIFFERS, f"{shown}: row {said.size}, object {seen.size}")
        elif self.deep and not self._is_whole(said.path):
            self.tally.add(CORRUPT, shown)

    def _is_whole(self, path: str) -> bool:
        algorithm, _, wanted = (paths.digest_of(path) or "").partition(":")
        if algorithm not in hashlib.algorithms_available:
            return True
        digest = hashlib.new(algorithm)
        try:
            for chunk in self.store.read(path):
                digest.update(chunk)
        except NoSuchObject:
            return True  # Erased meanwhile; the next run checks it again.
        return digest.hexdigest() == wanted

    def _confirm_missing(self, expected: Sequence[objects.Expected]) -> None:
        needed = objects.still_needed([said.blob_id or 0 for said in expected], self.name)
        for said in expected:
            if said.blob_id in needed and self.store.size(said.path) is None:
                where = IN_TRASH if self._is_in_trash(said.path) else MISSING
                self.tally.add(where, f"{self.name}:{said.path} (blob {said.blob_id})")

    def _is_in_trash(self, path: str) -> bool:
        digest = paths.digest_of(path)
        return digest is not None and any(each.location == self.name for each in find_quarantined(digest))

    def _confirm_unknown(self, unknown: Sequence[ObjectInfo]) -> None:
        names = [seen.path for seen in unknown if paths.is_ours(seen.path)]
        known = find_known(names, self.name) | {paths.EMPTY_LAYER_PATH}
        marked = find_marked([f"{self.name}:{name}" for name in names], MARKED)
        for seen in unknown:
            if seen.path in known or not paths.is_ours(seen.path) or self.store.size(seen.path) is None:
                continue
            waiting = seen.modified_ms > self.young_from_ms or f"{self.name}:{seen.path}" in marked
            self.tally.add(WAITING if waiting else UNKNOWN, f"{self.name}:{seen.path} ({seen.size} bytes)")


def merged(
    expected: Iterator[objects.Expected], listed: Iterator[ObjectInfo]
) -> Iterator[tuple[objects.Expected | None, ObjectInfo | None]]:
    """Pair both streams by path.  Raises an error unless each ascends by the bytes of the path."""
    said = _ascending(expected, lambda row: row.path)
    seen = _ascending(listed, lambda info: info.path)
    left, right = next(said, None), next(seen, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.path.encode() < right.path.encode()):
            yield left, None
            left = next(said, None)
        elif left is None or right.path.encode() < left.path.encode():
            yield None, right
            right = next(seen, None)
        else:
            yield left, right
            left, right = next(said, None), next(seen, None)


def _ascending(items: Iterator[T], path: Callable[[T], str]) -> Iterator[T]:
    before = None
    for item in items:
        if before is not None and path(item).encode() <= before:
            raise StoreUnavailable(
                "The listing is not in order: nothing can be concluded from it", at=path(item)
            )
        before = path(item).encode()
        yield item
