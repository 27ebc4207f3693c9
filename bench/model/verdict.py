"""The checks right after a schedule, and after the collector has done all its work."""

from __future__ import annotations

from bench.model import collecting as c
from bench.model import world as w
from bench.model.actor import Session
from bench.model.database import Database
from bench.model.erase import erase, trash_of
from bench.model.operations import ForeignKey
from bench.model.rules import Rules
from bench.model.run import Broken, Run
from bench.model.world import World

TABLES = (
    *("namespace", "manifest", "tag", "blob", "manifestblob", "marker"),
    *("candidate", "candidate_manifest", "tombstone", "fence"),
)


def verify(run: Run, database: Database, rules: Rules) -> None:
    """Raise `Broken` unless every invariant holds, right after the race and after all work is done."""
    if failed := [actor.name for actor in run.actors if isinstance(actor.error, ForeignKey)]:
        raise Broken(f"{failed} ended with a foreign-key error")
    _check(run.world, database, "right after", resting=False)
    _come_to_rest(run.world, database, rules)
    _check(run.world, database, "at rest", resting=True)
    left = [name for name in TABLES if ("candidate" in name or name == "tombstone") and database.rows(name)]
    if left:
        raise Broken(f"left at rest: {left}")


def _check(world: World, database: Database, when: str, *, resting: bool) -> None:
    blobs = {row["id"]: row["digest"] for row in database.rows("blob")}
    aside = {trash_of(row) for row in database.rows("tombstone")}
    for digest in {blobs[row["blob"]] for row in database.rows("manifestblob")}:
        if digest in world.objects:
            continue
        # A late request may have set it aside for a moment; a row records where it is.
        if resting or not any(name.endswith("/" + digest) and name in aside for name in world.objects):
            raise Broken(f"{when}: {digest} is referred to and has no object")
    if len(set(blobs.values())) < len(blobs):
        raise Broken(f"{when}: two rows of one digest")
    known = set(blobs.values()) | {row["digest"] for row in database.rows("tombstone")} | aside | {"identity"}
    if unknown := world.objects - known:
        raise Broken(f"{when}: {sorted(unknown)} is known to no row")
    alive = {row["name"] for row in database.rows("tag")}
    if lost := [
        name for kind, name in world.claims if name not in alive and not (resting and kind == "restorable")
    ]:
        raise Broken(f"{when}: {lost} was promised and is gone")
    if resting:
        linked = {row["blob"] for row in database.rows("manifestblob")}
        held = linked | {row["blob"] for row in database.rows("marker")}
        if leaked := [digest for number, digest in blobs.items() if number not in held]:
            raise Broken(f"{when}: {leaked} is an orphaned blob")
        pointed = {row["manifest"] for row in database.rows("tag")}
        if orphans := [row["id"] for row in database.rows("manifest") if row["id"] not in pointed]:
            raise Broken(f"{when}: manifests {orphans} have no tag and no trace")


def _come_to_rest(world: World, database: Database, rules: Rules) -> None:
    """Run the collector alone, on the mounted store, until nothing is left to do."""
    world.mounted, world.redis = True, {}
    calm = Rules(quarantine=rules.quarantine, look_by_store=rules.look_by_store)
    for turn in range(4):
        world.now += 10 * w.QUARANTINE
        work = Run(world, lambda: Session(database))
        for program in (c.collect(calm), c.review(calm), erase(f"rest {turn}", calm)):
            work.start("rest", program)
            work.play((), lambda ready, last: ready[0])
        if not any(database.tables[name] for name in ("candidate", "candidate_manifest", "tombstone")):
            return
