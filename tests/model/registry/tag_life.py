"""What a tag's life is, in plain Python: one repository's rows, and what each operation makes of them.

Written from the definition and not from the program: no SQL, no locks, no batches.  Times are
milliseconds.  An operation returns the name of the error that is to be expected, or an empty text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

HOUR_MS = 3_600_000
LONGEST_MS = 104 * 7 * 24 * HOUR_MS


@dataclass(frozen=True)
class Life:
    """One row: a name pointed at a manifest from `start_ms` to `end_ms`, or points there for ever."""

    name: str
    digest: str
    start_ms: int
    end_ms: int | None = None
    reversion: bool = False
    immutable: bool = False

    def alive(self, now_ms: int) -> bool:
        return self.end_ms is None or self.end_ms > now_ms


@dataclass
class Repository:
    """The rows, the manifests that are there, and the window of the namespace."""

    window_ms: int
    lives: list[Life] = field(default_factory=list)
    manifests: set[str] = field(default_factory=set)
    deleted: bool = False

    # ------------------------------------------------------------------------------------ reading

    def alive(self, name: str, now_ms: int) -> Life | None:
        """What the name points at."""
        return next((life for life in self.lives if life.name == name and life.alive(now_ms)), None)

    def restorable(self, life: Life, now_ms: int) -> bool:
        """A dead row can be restored until its window has passed: not at that instant any more."""
        return (
            not life.alive(now_ms)
            and life.end_ms is not None
            and life.end_ms + self.window_ms > now_ms
            and not self.deleted
        )

    def history(self, now_ms: int) -> list[Life]:
        """What is alive or can be restored."""
        return [life for life in self.lives if life.alive(now_ms) or self.restorable(life, now_ms)]

    # ------------------------------------------------------------------------------------ changing

    def point(self, name: str, digest: str, now_ms: int, end_ms: int | None = None) -> str:
        """Create or move a tag."""
        alive = self.alive(name, now_ms)
        if self.deleted:
            return "NoSuchRepository"
        if end_ms is not None and end_ms <= now_ms:
            return "BadInput"
        if digest not in self.manifests:
            return "ManifestGone"
        if alive and alive.immutable:
            return "" if alive.digest == digest and end_ms is None else "ImmutableTag"
        self._end([alive] if alive else [], now_ms)
        self._begin(name, digest, now_ms, end_ms=end_ms)
        return ""

    def delete(self, name: str, now_ms: int) -> str:
        """End what the name points at; it can be restored."""
        return self._end_all([self.alive(name, now_ms)], now_ms)

    def delete_of_manifest(self, digest: str, now_ms: int) -> str:
        """End every tag of a manifest: all or none."""
        return self._end_all([x for x in self.lives if x.digest == digest and x.alive(now_ms)], now_ms)

    def delete_permanently(self, name: str, digest: str, now_ms: int, *, is_alive: bool) -> str:
        """Put rows of a name on a manifest beyond restoring: the alive one, or the dead ones."""
        of_both = [life for life in self.lives if (life.name, life.digest) == (name, digest)]
        chosen = [x for x in of_both if (x.alive(now_ms) if is_alive else self.restorable(x, now_ms))]
        chosen.sort(key=lambda life: -(life.end_ms or 0))
        return self._end_all(list(chosen), now_ms, now_ms - self.window_ms)

    def restore(self, name: str, digest: str, now_ms: int) -> str:
        """Point a name again at what it pointed at inside the window."""
        if self.deleted:
            return "NoSuchRepository"
        alive = self.alive(name, now_ms)
        if alive and alive.digest == digest:
            return ""
        if not any(
            (life.name, life.digest) == (name, digest) and self.restorable(life, now_ms)
            for life in self.lives
        ):
            return "NotRestorable"
        if alive and alive.immutable:
            return "ImmutableTag"
        self._end([alive] if alive else [], now_ms)
        self._begin(name, digest, now_ms, reversion=True)
        return ""

    def expire_at(self, name: str, end_ms: int | None, now_ms: int) -> str:
        """Change the expiry of the alive tag: an hour to 104 weeks after its beginning."""
        alive = self.alive(name, now_ms)
        if self.deleted:
            return "NoSuchRepository"
        if alive is None:
            return ""
        if alive.immutable:
            return "ImmutableTag"
        if end_ms is not None:
            end_ms = min(max(end_ms, alive.start_ms + HOUR_MS), alive.start_ms + LONGEST_MS)
            if end_ms <= now_ms:
                return "BadInput"
        if end_ms != alive.end_ms:
            self._replace(alive, end_ms=None if end_ms is None else self._free(alive.name, end_ms))
        return ""

    def make_immutable(self, name: str, immutable: bool, now_ms: int) -> str:
        """Protect the alive tag, or stop; one with an expiry cannot be protected."""
        alive = self.alive(name, now_ms)
        if self.deleted:
            return "NoSuchRepository"
        if alive and immutable and alive.end_ms is not None:
            return "FeatureDisabled"
        if alive:
            self._replace(alive, immutable=immutable)
        return ""

    def retain(self, older_than_ms: int, now_ms: int) -> str:
        """End the tags that began longer ago, but for those that are immutable."""
        if self.deleted:
            return "NoSuchRepository"
        old = [x for x in self.lives if x.alive(now_ms) and now_ms - x.start_ms > older_than_ms]
        self._end([life for life in old if not life.immutable], now_ms)
        return ""

    def collect(self, now_ms: int) -> None:
        """Forget what nobody can restore, and the manifests that no row points at."""
        if self.deleted:
            return
        before = {life.digest for life in self.lives}
        self.lives = [x for x in self.lives if x.immutable or x.alive(now_ms) or self.restorable(x, now_ms)]
        self.manifests -= before - {life.digest for life in self.lives}

    # ------------------------------------------------------------------------------------- the rest

    def _end_all(self, lives: list[Life | None], now_ms: int, end_ms: int | None = None) -> str:
        found = [life for life in lives if life is not None]
        if self.deleted:
            return "NoSuchRepository"
        if any(life.immutable for life in found):
            return "ImmutableTag"
        self._end(found, now_ms if end_ms is None else end_ms)
        return ""

    def _end(self, lives: list[Life], end_ms: int) -> None:
        for life in lives:
            self._replace(life, end_ms=self._free(life.name, end_ms))

    def _free(self, name: str, end_ms: int) -> int:
        """No two rows of a name end in one millisecond: the last free one."""
        taken = {life.end_ms for life in self.lives if life.name == name}
        while end_ms in taken:
            end_ms -= 1
        return end_ms

    def _begin(
        self, name: str, digest: str, now_ms: int, *, end_ms: int | None = None, reversion: bool = False
    ) -> None:
        end_ms = None if end_ms is None else self._free(name, end_ms)
        self.lives.append(Life(name, digest, now_ms, end_ms, reversion))

    def _replace(self, life: Life, **changed: int | None) -> None:
        self.lives[self.lives.index(life)] = replace(life, **changed)  # type: ignore[arg-type]
