"""Races that several tests run: with the protocol as it is, and with one rule of it taken away.

A story makes its rows and returns its actors.  What it needs beside them, settings and a store, its
fixtures `settings` and `store_type` say.  A *telling* schedule is where its exploration begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from model.db.connection import execute, fetch_one, transaction
from tests.support.explorer_steps import Outcome
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.race_harness import Broken
from tests.support.race_stores import LateStore, SwappedStore
from tests.support.race_strangers import QuayActors
from worker.settings import Settings

DAY_S = 86_400
AT_ONCE = Settings(quarantine_s=0)
ASIDE = Settings(quarantine_s=DAY_S)

Actors = Mapping[str, Callable[[], Any]]
Story = Callable[[RaceActors], Actors]
Telling = tuple[tuple[str, str], ...]

# A retry after ten seconds is answered; a push follows; then the first request lands.
RETRIED = (("erase", ""), ("time", "70 s"), ("again", ""), ("push", ""), ("network", ""))
# The fence of an object that can be put back is over before the request lands.
AFTER_A_SHORT_FENCE = (("erase", ""), ("time", "70 s"), ("push", ""), ("network", ""), ("time", ""))
# The request is sent when its fence is over.
SLOW = (("erase", "look at the clock"), ("time", ""), ("push", ""), ("erase", ""), ("network", ""))
# The request is sent in time, and lands after twenty seconds.
LATE = (("erase", ""), ("time", "60 s"), ("push", ""), ("network", ""))
# The same request lands once more when the object is back in its place.
ZOMBIE_AFTER_RETURN = (
    ("erase", "send the move"), ("time", ""), ("push", ""), ("again", ""), ("erase", ""), ("network", ""),
)  # fmt: skip
# While one is frozen between its copy and its delete, a push comes and another tidies the trash up.
BETWEEN_COPY_AND_DELETE = (
    ("erase", "delete sha256/"), ("time", "70 s"), ("push", ""), ("time", ""), ("again", ""), ("erase", ""),
)  # fmt: skip
# Frozen in the middle of putting back, until another has done it.
LEASE_OVER = (("first", "put back"), ("time", ""), ("second", ""), ("first", ""))
# Frozen right before it purges, until its lease is over and a push has come.
PURGED_LATE = (("purge", "purge dredge"), ("time", ""), ("push", ""), ("again", ""), ("purge", ""))
# The disk goes away before the request, and is back before anybody asks.
MISSING = (("erase", "erase sha256/"), ("mount", "is mounted"), ("erase", ""), ("mount", ""))
# Quay has seen the object; it is set aside; the row comes.
OBJECT_SEEN = (("quay", "SELECT id FROM imagestorage"), ("erase", ""), ("quay", ""))
# The push sees the object and commits its row, then the request comes.
OVERTAKEN = (("erase", "sha256/"), ("push", ""), ("erase", ""))
FROZEN = (("erase", "sha256/"), ("time", "70 s"), ("push", ""), ("erase", ""))
# While one is frozen another sets the object aside, and a push writes it again.
FROZEN_TWICE = (("erase", "sha256/"), ("time", "70 s"), ("again", ""), ("push", ""), ("erase", ""))
# Frozen past its fence; nobody waits for the answer any more when the request lands.
ZOMBIE = (("erase", "send the move"), ("time", ""), ("push", ""), ("erase", ""), ("network", ""))


def push_and_erase(race: RaceActors) -> Actors:
    """A push meets the tombstone of its digest."""
    race.tombstone("dead")
    return {"push": race.push_blob("dead"), "erase": race.erase, "again": race.erase}


def push_and_review(race: RaceActors) -> Actors:
    """A push finds the row and the object of a blob that is dying."""
    race.world.insert("dredge_blob_candidate", blob_id=race.layer("dying"), created_ms=1)
    return {"push": race.push_blob("dying"), "review": race.review, "erase": race.erase}


def one_of_two_rows_dies(race: RaceActors) -> Actors:
    """Two rows share one digest, as they may."""
    race.world.insert("dredge_blob_candidate", blob_id=race.layer("twice"), created_ms=1)
    race.world.tag("living", manifest=race.have(race.image(race.layer("twice"))))
    return {"review": race.review, "erase": race.erase}


def late_request(race: RaceActors) -> Actors:
    """A request gets no answer and lands late; a retry and a push come in between."""
    race.tombstone("dead")
    store = race.harness.store
    assert isinstance(store, LateStore)
    return {
        "erase": race.erase,
        "time": race.harness.clock.passes(10, 70),
        "again": race.erase,
        "push": race.push_blob("dead"),
        "network": store.land,
    }


def slow_eraser(race: RaceActors) -> Actors:
    """An eraser comes to its request when the fence is half over, or over."""
    race.tombstone("dead")
    store = race.harness.store
    assert isinstance(store, LateStore)
    return {
        "erase": race.erase,
        "time": race.harness.clock.passes(20, 60),
        "push": race.push_blob("dead"),
        "network": store.land,
    }


def frozen_eraser(race: RaceActors) -> Actors:
    """An eraser is frozen past its fence, after its look at the clock."""
    race.tombstone("dead")
    return {
        "erase": race.erase,
        "time": race.harness.clock.passes(10, 70),
        "push": race.push_blob("dead"),
        "again": race.erase,
    }


def lease_ends(race: RaceActors) -> Actors:
    """Two erasers look after one object of the trash, the second when the first one's lease is over."""
    set_aside(race, "needed again")
    race.world.tag("needing", manifest=race.have(race.image(race.layer("needed again", stored=False))))
    return {"first": race.erase, "time": race.harness.clock.passes(70), "second": race.erase}


def purge_and_push(race: RaceActors) -> Actors:
    """The quarantine of an object ends at the moment of a push."""
    set_aside(race, "dead")
    race.world.execute("UPDATE dredge_quarantine SET purge_ms = 1")
    return {
        "purge": race.erase,
        "push": race.push_blob("dead"),
        "time": race.harness.clock.passes(70),
        "again": race.erase,
    }


def set_aside(race: RaceActors, text: str) -> None:
    """Have an object in the trash, that is due to be looked at."""
    race.tombstone(text)
    race.erase()
    race.world.execute("UPDATE dredge_quarantine SET look_ms = 1")


def quay_push(race: RaceActors) -> Actors:
    """A Quay without locks pushes: object seen, upload dropped, row later."""
    race.tombstone("dead")
    return {
        "quay": QuayActors(race).push("dead", "theirs"),
        "erase": race.erase,
        "again": race.erase,
        "time": race.harness.clock.passes(70),
    }


def quay_row(race: RaceActors) -> Actors:
    """A Quay that uses a row of another location's name, which is the same store."""
    race.tombstone("dead")
    storage = {"location": "renamed", "address": "", "identity": race.harness.store.read_identity()}
    race.world.execute(
        "INSERT INTO dredge_storage (location, address, identity)"
        " VALUES (%(location)s, %(address)s, %(identity)s)",
        storage,
    )
    race.world.tag("theirs", manifest=race.have(race.image(race.layer("dead", placement="renamed"))))
    return {"erase": race.erase, "again": race.erase}


def unmounted(race: RaceActors) -> Actors:
    """The store is empty for a while, as an unmounted disk is."""
    race.tombstone("dead")
    store = race.harness.store
    assert isinstance(store, SwappedStore)
    return {"erase": race.erase, "mount": store.away_for_a_while, "again": race.erase}


def lengthened_window(race: RaceActors) -> Actors:
    """Somebody makes a window longer while a batch with the old one runs, and finds his tag, or not."""
    world, owner = race.world, race.world.namespace()
    there = world.repository(namespace=owner)
    gone_tag(world, race.have(race.image(race.layer("theirs")), there))
    gone_tag(world, race.have(race.image(race.layer("ours"))))

    def lengthen() -> int:
        with transaction():
            execute('UPDATE "user" SET removed_tag_expiration_s = 10^10 WHERE id = %s', (int(owner),))
            found = fetch_one("SELECT count(*) AS n FROM tag WHERE repository_id = %s", (int(there),))
            return int(there) if found.n else 0

    return {"lengthen": lengthen, "batch": race.collect_together(world.repository_id, int(there))}


def kept(race: RaceActors, outcomes: Mapping[str, Outcome]) -> None:
    """A tag that was there after its window had been made longer stays."""
    found = outcomes["lengthen"].value if "lengthen" in outcomes else 0
    if found and not race.world.value("SELECT count(*) FROM tag WHERE repository_id = %s", (found,)):
        raise Broken("a tag was collected within its longer window")


def tag_and_collect(race: RaceActors) -> Actors:
    """A tag comes to a manifest that is being judged."""
    image = race.have(race.image(race.layer("loose")))
    columns = {"repository_id": race.world.repository_id, "manifest_id": image, "created_ms": 1}
    race.world.insert("dredge_manifest_candidate", **columns)
    return {"tag": race.tag("saved", image.digest), "collect": race.collect()}


def two_collections_of_one_blob(race: RaceActors) -> Actors:
    """Two collections drop the last two references of a blob."""
    shared, other = race.layer("shared"), race.world.repository()
    gone_tag(race.world, race.have(race.image(shared)))
    gone_tag(race.world, race.have(race.image(shared), other))
    return {"first": race.collect(), "second": race.collect(other), "review": race.review}
