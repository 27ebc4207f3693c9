"""What each process tried and was told, line by line in a file: it survives the process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import RegistryError
from tests.soak.images import Lost
from tests.soak.quay import RowVanished

# What an answer may be, and say by that that nothing was changed.
REFUSED = frozenset({"NotRestorable", "ManifestGone", "NoSuchManifest", "NoSuchBlob"})


@dataclass
class Entry:
    """One operation: what for, when, and the answer; `error` None means yes, no end means no answer."""

    op: str
    begin: float
    repository: int
    tag: str | None = None
    digest: str | None = None
    end: float | None = None
    error: str | None = None
    text: str = ""
    deadlock: bool = False
    changed: bool = True
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def yes(self) -> bool:
        return self.end is not None and self.error is None

    @property
    def may_have_changed(self) -> bool:
        """False only where the answer says that nothing was changed."""
        if self.end is None:
            return True
        return self.changed if self.error is None else self.error not in REFUSED


class Journal:
    """Writes one file, a line before and a line after each operation."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._number = 0

    @contextmanager
    def operation(
        self,
        op: str,
        repository: int,
        tag: str | None = None,
        digest: str | None = None,
        *,
        begin: float | None = None,
        facts: dict[str, Any] | None = None,
    ) -> Iterator[Entry]:
        """Note what the block does; errors that a caller may meet are noted and end here.

        `begin` is when it began to find out what it is about, if that was earlier.
        """
        self._number += 1
        entry = Entry(op, begin or time.time(), repository, tag, digest, facts=facts or {})
        self._write(entry)
        try:
            yield entry
        except (RegistryError, Lost, RowVanished) as error:
            entry.error, entry.text = type(error).__name__, str(error)[:500]
            entry.deadlock = "DeadlockDetected" in _causes(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is in the books
            entry.error, entry.text = f"unexpected {type(error).__name__}", str(error)[:500]
        entry.end = time.time()
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        self._file.write(json.dumps([self._number, entry.__dict__]) + "\n")


def _causes(error: BaseException | None) -> list[str]:
    names = []
    while error is not None:
        names.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    return names


def read_journals(directory: Path) -> list[Entry]:
    """Every operation of every process."""
    entries: list[Entry] = []
    for path in sorted(directory.glob("*.journal")):
        latest: dict[int, Entry] = {}
        for line in path.read_text().splitlines():
            try:
                number, facts = json.loads(line)
            except ValueError:
                continue  # the process was killed while it wrote
            latest[number] = Entry(**facts)
        entries += latest.values()
    return entries
