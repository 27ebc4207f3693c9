"""Where a claim begins to read the index of its queue: behind the entries of rows that are gone.

The index keeps an entry of every row that was claimed, postponed or deleted, until no transaction can see
that row any more.  Beside a transaction that is open for hours, a claim that began at the front would step
over all of them.  So a process remembers, for each queue, the first row that its last claim has found.

What is before that row is dead, except for three kinds of rows: those that another transaction had locked,
those that it had not committed, and those that get an earlier key.  Therefore a turn begins where the process
was ten seconds ago, and some turns begin at the front.  No row is passed over for longer than a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from model.db.arrays import BigIntArray
from model.db.text_array import TextArray

# The time of the next claim and the id of a row: the order of a queue.
Key = tuple[int, int]

# Before every row.
FRONT: Key = (-(2**62), 0)

# The time of a row that comes before all others of its queue, whatever the start.
HURRIED_MS = 0

# Longer than nearly every transaction.
BACK_S = 10.0
# How much longer than a turn from the front the turns after it may be, together, until the next such turn.
SHARE = 100
LONGEST_S = 60.0
# The positions of so many seconds are remembered as one.
STEP_S = 1.0


# One row for each of several queues: its name and its start.
STARTS = "unnest(%(names)s, %(from_ms)s, %(from_ids)s) AS s (name, from_ms, from_id)"


# For the update of the claimed rows, beside its join with them: with the join alone, the server reads the
# whole index of a small table, with the entries of rows that are gone.
OF_DUE = "= ANY (ARRAY(SELECT id FROM due))"
OF_IDS = "= ANY (%(ids)s)"


class QueueStart:
    """The start of one queue's claims, in this process alone: another process begins at the front."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = self._reached = FRONT
        # What was reached at a time: the first is at least `BACK_S` old, the others are younger.
        self._past: list[tuple[float, Key]] = [(clock(), FRONT)]
        self._front_due_s = clock()
        self._front_began_s: float | None = None

    def begin(self) -> Key:
        """Begin a turn: return where its first claim begins."""
        now_s = self._clock()
        if now_s >= self._front_due_s:
            self._front_began_s, self._key = now_s, FRONT
            return FRONT
        while len(self._past) > 1 and self._past[1][0] <= now_s - BACK_S:
            del self._past[0]
        self._key = self._past[0][1]
        return self._key

    def go_on(self) -> Key:
        """Return where the next claim of a turn begins."""
        return self.begin() if self.front_is_due else self._key

    @property
    def front_is_due(self) -> bool:
        """Return whether the next claim begins at the front."""
        return self._clock() >= self._front_due_s

    def reach(self, first: Key | None) -> None:
        """Note the first row that the last claim has found, or that it found none.

        Call it after the claim's commit, so that a claim that failed has passed over nothing.
        """
        now_s = self._clock()
        if self._front_began_s is not None:
            took_s = now_s - self._front_began_s
            self._front_began_s, self._front_due_s = None, now_s + min(LONGEST_S, SHARE * took_s)
        if first is not None:
            self._reached = first
            self._remember(now_s, first)
        self._key = self._reached

    def _remember(self, now_s: float, first: Key) -> None:
        while len(self._past) > 1 and self._past[-1][1] > first:
            del self._past[-1]
        at_s, key = self._past[-1]
        if key > first:
            self._past = [(at_s, first)]
        elif now_s >= at_s + STEP_S:
            self._past.append((now_s, first))


def start_params(starts: Mapping[str, Key]) -> dict[str, TextArray | BigIntArray]:
    """Return the parameters of `STARTS`."""
    return {
        "names": TextArray(starts),
        "from_ms": BigIntArray(from_ms for from_ms, _ in starts.values()),
        "from_ids": BigIntArray(from_id for _, from_id in starts.values()),
    }


class QueueStarts(dict[str, QueueStart]):
    """The starts of this process, by the names of the queues.  `clear` lets all begin at the front."""

    def __missing__(self, name: str) -> QueueStart:
        return self.setdefault(name, QueueStart())
