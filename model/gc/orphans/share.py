"""The share of a location's objects that no row knows; if it is too large, the sweep stops there.

Another registry's storage and a database that was restored from an old backup both look like garbage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.db.connection import execute, fetch, fetch_one

# With fewer unknown objects their share does not count.
FEWEST = 20

_COUNT = """
INSERT INTO dredge_sweep AS s (location, looked, unknown_objects)
VALUES (%(location)s, %(looked)s, %(unknown)s)
ON CONFLICT (location) DO UPDATE SET looked = s.looked + excluded.looked,
    unknown_objects = s.unknown_objects + excluded.unknown_objects
"""

# The first pass that finds fewer unknown objects ends the acceptance.
_END = """
INSERT INTO dredge_sweep AS s (location, last_looked, last_unknown) VALUES (%s, 0, 0)
ON CONFLICT (location) DO UPDATE SET last_looked = s.looked, last_unknown = s.unknown_objects, looked = 0,
    unknown_objects = 0, accepted = CASE WHEN s.unknown_objects < s.accepted THEN 0 ELSE s.accepted END
"""

_ACCEPT = """
UPDATE dredge_sweep SET accepted = greatest(unknown_objects, last_unknown)
WHERE location = %s AND greatest(unknown_objects, last_unknown) > 0
"""

_READ = "SELECT location, looked, unknown_objects, last_looked, last_unknown, accepted FROM dredge_sweep"


@dataclass(frozen=True)
class Share:
    """What the running pass and the last complete pass found at a location."""

    location: str
    looked: int = 0
    unknown: int = 0
    last_looked: int | None = None
    last_unknown: int | None = None
    accepted: int = 0

    def find_excess(self, percent: float) -> str:
        """Say why nothing may be confirmed here; empty if it may be.  0 percent allows every share."""
        last = self.last_looked or 0
        # The first folders of the running pass may have garbage only.
        for looked, unknown in ((max(self.looked, last), self.unknown), (last, self.last_unknown or 0)):
            if percent and unknown > max(FEWEST, self.accepted) and 100 * unknown > percent * looked:
                return (
                    f"{unknown:,} of {looked:,} objects are unknown to the rows, more than {percent:g}"
                    " percent: is it another registry's storage, or was an old database restored?"
                    f" If they are garbage: dredge sweep --accept {self.location}"
                )
        return ""

    @property
    def may_confirm(self) -> bool:
        """Return whether there was a complete pass; without one the usual share is unknown."""
        return self.last_looked is not None


def read_share(location: str) -> Share:
    """Return what is known about a location; only reads."""
    row = fetch_one(f"{_READ} WHERE location = %s", (location,))
    return Share(*row) if row else Share(location)


def read_shares() -> list[Share]:
    """Return the same for each location that was swept, by name; only reads."""
    return [Share(*row) for row in fetch(f"{_READ} ORDER BY location")]


def count_folder(share: Share, *, looked: int, unknown: int) -> Share:
    """Add a folder to the running pass.  A folder that is read twice counts twice; the share stays."""
    if looked:
        execute(_COUNT, {"location": share.location, "looked": looked, "unknown": unknown})
    return replace(share, looked=share.looked + looked, unknown=share.unknown + unknown)


def end_pass(location: str) -> None:
    """Note that the pass has read the whole location."""
    execute(_END, (location,))


def accept_unknown(location: str) -> bool:
    """Accept that the unknown objects counted here are garbage; False if there are none.

    Idempotent.
    """
    return execute(_ACCEPT, (location,)) > 0
