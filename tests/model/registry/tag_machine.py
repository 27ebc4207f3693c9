"""A random life of a repository's tags by the façade, compared with `tag_life` after each step.

The database's clock stands still and goes on only in the rules for it, so every time is known exactly.
A life begins with living tags and with dead ones, in and beyond their window.  Rules that need a living tag
choose one that lives, and each edge (of a window, an expiry, an age) has a rule that reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from model import namespace, registry
from model.errors import RegistryError
from model.gc.collect import collect_batch
from model.policy import DEFAULT
from model.retention.apply import end_chosen, judge_repository
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule
from tests.model.registry.tag_life import HOUR_MS, Life, Repository
from tests.support.saved_rows import SavedRows
from tests.support.world import World, digest_of

DAY_MS = 24 * HOUR_MS
WINDOWS_MS = (2 * DAY_MS, DAY_MS, 0)
NAMES = ("a", "b", "c")
DIGESTS = tuple(digest_of(text) for text in "wxyz")
OLD = Rule("old", "expire", older_than_ms=DAY_MS)
# More than any life here needs.
BATCHES = 60
# Distances from the end of a window, and ages of dead tags.
EDGE_MS = (-1, 0, 1)
ENDS_MS = (1, HOUR_MS, DAY_MS - 1, DAY_MS, 2 * DAY_MS - 1, 2 * DAY_MS, 9 * DAY_MS)

names, digests = st.sampled_from(NAMES), st.sampled_from(DIGESTS)
pick = st.integers(0, 11)


class ClockedDatabase:
    """The database of all lives: rows that are put back, and a clock that is set."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._rows = SavedRows(world)
        world.execute("CREATE TABLE saved.moment AS SELECT clock_timestamp() AS at")
        world.tag("elsewhere", repository=world.repository("other"))
        self.repository = int(world.default_repository)
        self._rows.save()

    def reset(self, now_ms: int) -> None:
        """An empty repository, at this time."""
        self._rows.put_back()
        self.set_clock(now_ms)

    def set_clock(self, now_ms: int) -> None:
        """The database's clock stands there."""
        self.world.execute("UPDATE saved.moment SET at = to_timestamp(%s / 1000.0)", (now_ms,))

    @staticmethod
    def standing_still(sql: str) -> str:
        """The statement with the clock that is set."""
        return sql.replace("clock_timestamp()", "(SELECT at FROM saved.moment)")

    def close(self) -> None:
        self._rows.close()


class TagMachine(RuleBasedStateMachine):
    """The façade beside the model."""

    clocked: ClockedDatabase

    @initialize(
        dead=st.lists(st.tuples(names, digests, st.sampled_from(ENDS_MS)), min_size=1, max_size=5),
        alive=st.dictionaries(names, digests),
        window=st.sampled_from(WINDOWS_MS[:2]),
    )
    def begin(self, dead: list[tuple[str, str, int]], alive: dict[str, str], window: int) -> None:
        """Dead tags and living ones, and the manifests that they point at."""
        self.now_ms = 1_800_000_000_000
        self.clocked.reset(self.now_ms)
        self.known = Repository(window_ms=2 * DAY_MS)
        for name, digest, ago_ms in dead:
            self.have_manifest(digest)
            end_ms = self.now_ms - ago_ms
            if any((life.name, life.end_ms) == (name, end_ms) for life in self.known.lives):
                continue
            life = Life(name, digest, end_ms - 1000, end_ms)
            self.known.lives.append(life)
            where = self.clocked.world.value("SELECT id FROM manifest WHERE digest = %s", (digest,))
            self.clocked.world.tag(name, manifest=where, repository=self.clocked.repository, ended_ms=end_ms)
        self.widen(window)
        for name, digest in alive.items():
            self.push(name, digest)

    # ------------------------------------------------------------------------------------ the rules

    @rule(name=names, digest=digests)
    def push(self, name: str, digest: str) -> None:
        alive = self.known.alive(name, self.now_ms)
        if not self.known.deleted and not (alive and alive.immutable):
            self.have_manifest(digest)
            self.move(name, digest)

    @rule(name=names, digest=digests, expiry_ms=st.sampled_from([None, None, 1, 5 * HOUR_MS]))
    def move(self, name: str, digest: str, expiry_ms: int | None = None) -> None:
        end_ms = None if expiry_ms is None else self.now_ms + expiry_ms
        self.both(
            lambda: registry.retarget_tag(self.clocked.repository, name, digest, expires_ms=end_ms),
            self.known.point(name, digest, self.now_ms, end_ms),
        )

    @rule(which=pick, digest=digests)
    def move_what_lives(self, which: int, digest: str) -> None:
        self.push(self.living(which), digest)

    @rule(which=pick)
    def delete(self, which: int) -> None:
        self.delete_name(self.living(which))

    def delete_name(self, name: str) -> None:
        self.both(
            lambda: registry.delete_tag(self.clocked.repository, name), self.known.delete(name, self.now_ms)
        )

    @rule(digest=digests)
    def delete_of_manifest(self, digest: str) -> None:
        self.both(
            lambda: registry.delete_tags_for_manifest(self.clocked.repository, digest),
            self.known.delete_of_manifest(digest, self.now_ms),
        )

    @rule(which=pick)
    def delete_permanently(self, which: int) -> None:
        if self.known.lives:
            life = self.known.lives[which % len(self.known.lives)]
            self.delete_any_permanently(life.name, life.digest, life.alive(self.now_ms))

    @rule(which=pick, digest=digests)
    def delete_another_permanently(self, which: int, digest: str) -> None:
        """The name lives, and may point at another manifest."""
        self.delete_any_permanently(self.living(which), digest, is_alive=True)

    @rule(name=names, digest=digests, is_alive=st.booleans())
    def delete_any_permanently(self, name: str, digest: str, is_alive: bool) -> None:
        self.both(
            lambda: registry.delete_tag_permanently(self.clocked.repository, name, digest, is_alive=is_alive),
            self.known.delete_permanently(name, digest, self.now_ms, is_alive=is_alive),
        )

    @rule(which=pick)
    def restore(self, which: int) -> None:
        """What was there once, whether it still is or not."""
        dead = [life for life in self.known.lives if not life.alive(self.now_ms)]
        if dead:
            life = dead[which % len(dead)]
            self.restore_any(life.name, life.digest)

    @rule(which=pick)
    def restore_again(self, which: int) -> None:
        self.restore(which)

    @rule(which=pick, edge=st.sampled_from(EDGE_MS))
    def restore_at_the_edge(self, which: int, edge: int) -> None:
        self.reach_the_edge(which, edge)
        self.restore(which)

    @rule(name=names, digest=digests)
    def restore_any(self, name: str, digest: str) -> None:
        self.both(
            lambda: registry.restore_tag(self.clocked.repository, name, digest),
            self.known.restore(name, digest, self.now_ms),
        )

    @rule(which=pick, after_ms=st.sampled_from([None, 1, 3 * HOUR_MS, 900 * DAY_MS]))
    def change_expiry(self, which: int, after_ms: int | None) -> None:
        self.expire_name(self.living(which), after_ms)

    def expire_name(self, name: str, after_ms: int | None) -> None:
        end_ms = None if after_ms is None else self.now_ms + after_ms
        self.both(
            lambda: registry.change_tag_expiration(self.clocked.repository, name, end_ms),
            self.known.expire_at(name, end_ms, self.now_ms),
        )

    @rule(name=names, digest=digests, edge=st.sampled_from(EDGE_MS), which=pick)
    def reach_an_expiry(self, name: str, digest: str, edge: int, which: int) -> None:
        """A tag expires now, or a millisecond earlier or later; somebody moves it or ends it."""
        self.move(name, digest, 5 * HOUR_MS)
        self.time_passes(5 * HOUR_MS + edge)
        self.try_any(name, DIGESTS[which % len(DIGESTS)], which)

    @rule(which=pick, digest=digests, what=pick)
    def touch_what_is_immutable(self, which: int, digest: str, what: int) -> None:
        name = self.living(which)
        self.protect_name(name, immutable=True)
        self.try_any(name, digest, what)

    @rule(which=pick, immutable=st.booleans())
    def protect(self, which: int, immutable: bool) -> None:
        self.protect_name(self.living(which), immutable)

    def protect_name(self, name: str, immutable: bool) -> None:
        self.both(
            lambda: registry.set_tag_immutable(self.clocked.repository, name, immutable),
            self.known.make_immutable(name, immutable, self.now_ms),
        )

    @rule()
    def retain(self) -> None:
        def work() -> None:
            rules = RetentionPolicy(rules=(OLD,))
            judged = judge_repository(self.clocked.repository, policy=DEFAULT, retention=rules)
            end_chosen(judged, judged.chosen, policy=DEFAULT, retention=rules)

        if not self.known.deleted:
            self.both(work, self.known.retain(DAY_MS, self.now_ms))

    @rule(name=names, digest=digests, edge=st.sampled_from(EDGE_MS))
    def retain_at_the_edge(self, name: str, digest: str, edge: int) -> None:
        """A tag is as old as the rule says, or a millisecond more or less."""
        self.push(name, digest)
        self.time_passes(DAY_MS + edge)
        self.retain()

    @rule(limit=st.sampled_from([1, 2, 100]))
    def collect(self, limit: int) -> None:
        batches = (
            collect_batch(self.clocked.repository, policy=DEFAULT, limit=limit) for _ in range(BATCHES)
        )
        assert any(not batch.has_more for batch in batches), "the collection does not come to its end"
        self.known.collect(self.now_ms)

    @rule(which=pick, edge=st.sampled_from(EDGE_MS))
    def collect_at_the_edge(self, which: int, edge: int) -> None:
        self.reach_the_edge(which, edge)
        self.collect(100)

    @rule(ms=st.sampled_from([1, HOUR_MS, DAY_MS]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        self.clocked.set_clock(self.now_ms)

    @rule(window=st.sampled_from(WINDOWS_MS))
    def widen(self, window: int) -> None:
        namespace.change_window("acme", window // 1000)
        self.known.window_ms = window

    @rule(name=names, digest=digests, what=pick, passes_ms=st.sampled_from([0, DAY_MS]))
    def delete_the_repository_for_a_time(self, name: str, digest: str, what: int, passes_ms: int) -> None:
        """Whatever is asked of it meanwhile is refused, and nothing of it is collected."""
        registry.delete_repository("acme/app")
        self.known.deleted = True
        self.try_any(name, digest, what)
        self.time_passes(passes_ms)
        self.collect(100)
        self.the_rows_are_those_of_the_model()
        registry.restore_repository("acme/app")
        self.known.deleted = False

    # ------------------------------------------------------------------------------------ what holds

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        if not hasattr(self, "known"):
            return
        world, where = self.clocked.world, (self.clocked.repository,)
        rows = world.rows(
            "SELECT t.name, m.digest, t.lifetime_start_ms, t.lifetime_end_ms, t.reversion, t.immutable"
            " FROM tag t JOIN manifest m ON m.id = t.manifest_id WHERE t.repository_id = %s",
            where,
        )
        assert _sorted(Life(*row) for row in rows) == _sorted(self.known.lives)
        found = world.rows("SELECT digest FROM manifest WHERE repository_id = %s", where)
        assert {digest for (digest,) in found} == self.known.manifests
        assert world.value("SELECT count(*) FROM tag WHERE name = 'elsewhere'") == 1

    @invariant()
    def readers_are_told_the_same(self) -> None:
        if not hasattr(self, "known") or self.known.deleted:
            return
        where, at_ms = self.clocked.repository, self.now_ms
        shown = registry.list_tag_history(where, limit=100).lifetimes
        assert _sorted(
            Life(x.tag.name, x.tag.digest, x.tag.start_ms, x.tag.end_ms, x.tag.reversion, x.tag.immutable)
            for x in shown
        ) == _sorted(self.known.history(at_ms))
        restorable = {(x.tag.name, x.tag.start_ms) for x in shown if x.restorable}
        assert restorable == {
            (x.name, x.start_ms) for x in self.known.lives if self.known.restorable(x, at_ms)
        }
        for name in NAMES:
            alive, found = self.known.alive(name, at_ms), registry.get_tag(where, name)
            assert (found.digest if found else None) == (alive.digest if alive else None)

    # ------------------------------------------------------------------------------------- helpers

    def both(self, work: Callable[[], Any], expected: str) -> None:
        """Do it by the façade, and expect the error that the model names."""
        error = ""
        try:
            work()
        except RegistryError as raised:
            error = type(raised).__name__
        assert error == expected, f"{error or 'no error'} instead of {expected or 'none'}"

    def living(self, which: int) -> str:
        """Return a name that points at something, or any if none does."""
        alive = [name for name in NAMES if self.known.alive(name, self.now_ms)]
        return (alive or NAMES)[which % len(alive or NAMES)]

    def try_any(self, name: str, digest: str, what: int) -> None:
        """Do one of the changes of a name."""
        changes: list[Callable[[], None]] = [
            lambda: self.move(name, digest),
            lambda: self.delete_name(name),
            lambda: self.delete_any_permanently(name, digest, is_alive=True),
            lambda: self.restore_any(name, digest),
            lambda: self.expire_name(name, 3 * HOUR_MS),
            lambda: self.protect_name(name, immutable=False),
        ]
        changes[what % len(changes)]()

    def have_manifest(self, digest: str) -> None:
        """A push has brought it."""
        if digest not in self.known.manifests:
            self.clocked.world.manifest(self.clocked.repository, digest=digest)
            self.known.manifests.add(digest)

    def reach_the_edge(self, which: int, edge: int) -> None:
        """Let time pass until a dead tag's window closes, or a millisecond before or after."""
        edges = [
            life.end_ms + self.known.window_ms + edge
            for life in self.known.lives
            if life.end_ms is not None and life.end_ms + self.known.window_ms + edge > self.now_ms
        ]
        if edges:
            self.time_passes(edges[which % len(edges)] - self.now_ms)


def _sorted(lives: Any) -> list[Life]:
    return sorted(lives, key=repr)
