"""Purges and retention against pushes, restores, tag operations, collections and each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import peewee

from model import registry
from model.controls.holds import set_hold
from model.errors import (
    BlobGone,
    Contended,
    ImmutableTag,
    ManifestGone,
    NameTaken,
    NoSuchBlob,
    NoSuchRepository,
    NoSuchTag,
    NotRestorable,
)
from model.in_use import replace_in_use
from model.purge.references import read_steps
from model.purge.repository import purge_repository_batch
from model.retention.apply import end_chosen, judge_repository
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule
from tests.support.explorer import Report
from tests.support.explorer_steps import Outcome
from tests.support.race_actors import RaceActors
from tests.support.race_harness import Broken
from tests.support.world import Row, digest_of

Explore = Callable[..., Report]

DAY_MS = 86_400_000
GONE = (
    BlobGone,
    Contended,
    ManifestGone,
    NoSuchBlob,
    NoSuchRepository,
    NotRestorable,
    NameTaken,
)
RULES = RetentionPolicy(rules=(Rule("old", "expire", older_than_ms=DAY_MS, newest=1),))


def doomed(race: RaceActors, *, deleted: bool = True) -> Row:
    """A repository with an image that shares a layer with the bystander's repository, and one of its own."""
    where = race.world.repository("doomed")
    shared = race.layer("shared by both")
    race.world.tag("kept", manifest=race.have(race.image(shared, note="kept")))
    for note in ("one", "two"):
        image = race.image(race.layer(f"own {note}"), shared, note=note)
        race.world.tag(note, manifest=race.have(image, where))
    race.world.quota(where)
    if deleted:
        race.world.mark_deleted(where)
    return where


def purge(race: RaceActors, repository: int, *, limit: int = 3) -> Callable[[], None]:
    """Purge until there is nothing more to do now."""
    policy = replace(race.policy, purge_grace_ms=0)

    def work() -> None:
        steps = read_steps("repository")
        while purge_repository_batch(repository, steps=steps, policy=policy, limit=limit).has_more:
            pass

    return work


def is_whole_or_gone(race: RaceActors, repository: int, tags: int) -> Callable[[Mapping[str, Outcome]], None]:
    """The restored repository has everything; one that was not restored can be purged to its end."""

    def check(outcomes: Mapping[str, Outcome]) -> None:
        state = race.world.value("SELECT state FROM repository WHERE id = %s", (repository,))
        if outcomes["restore"].ok and (
            state != 0
            or race.world.value("SELECT count(*) FROM tag WHERE repository_id = %s", (repository,)) != tags
        ):
            raise Broken(f"restored, and not whole: state {state}")
        if not outcomes["restore"].ok and state == 0:
            raise Broken("not restored, and not deleted either")
        purge(race, repository)()

    return check


def test_case_72_a_purge_is_undone_at_the_last_moment(race: RaceActors, explore: Explore) -> None:
    where = doomed(race)
    report = explore(
        purge=purge(race, where),
        restore=lambda: registry.restore_repository("acme/doomed") and None,
        check=is_whole_or_gone(race, where, 2),
        telling=(("restore", ""), ("purge", "")),
        errors=GONE,
    )
    assert len(report.outcomes) == 3  # restored, too late, or already gone


def finish(race: RaceActors, repository: int) -> Callable[[Mapping[str, Outcome]], None]:
    """Whatever came in between, the next purge takes it, and nothing of the repository is left."""

    def check(outcomes: Mapping[str, Outcome]) -> None:
        for _ in range(3):
            purge(race, repository)()
        left = race.world.value("SELECT count(*) FROM repository WHERE id = %s", (repository,))
        if left:
            raise Broken("the purge does not come to its end")

    return check


def test_case_71_two_purges_of_one_repository(race: RaceActors, explore: Explore) -> None:
    where = doomed(race)
    explore(
        first=purge(race, where), second=purge(race, where), check=finish(race, where), errors=(Contended,)
    )


def test_case_71_a_purge_beside_a_push_that_began_before_the_deletion(
    race: RaceActors, explore: Explore
) -> None:
    where = doomed(race)
    text = "pushed into it"
    explore(
        purge=purge(race, where),
        push=lambda: bool(race.push_blob(text, where)()),
        check=finish(race, where),
        errors=(*GONE, peewee.IntegrityError),
    )


def test_case_71_a_purge_beside_a_push_of_its_blobs_elsewhere(race: RaceActors, explore: Explore) -> None:
    where = doomed(race)
    image = race.image(
        *(Row(0, digest=digest_of(text), size=len(text)) for text in ("own one", "shared by both"))
    )
    push = race.push_all(["own one", "shared by both"], image, "pushed")
    explore(purge=purge(race, where), review=race.review, push=push, check=finish(race, where), errors=GONE)


def test_case_71_a_purge_beside_a_collection_that_began_before_the_deletion(
    race: RaceActors, explore: Explore
) -> None:
    where = doomed(race, deleted=False)
    race.world.execute("UPDATE tag SET lifetime_end_ms = id WHERE name = 'one'")
    explore(
        collect=race.collect(where),
        delete=lambda: (
            registry.delete_repository(int(where), policy=replace(race.policy, purge_grace_ms=0)) and None
        ),
        purge=purge(race, where),
        check=finish(race, where),
        errors=GONE,
    )


def test_case_76_a_hold_beside_a_purge_stops_it_within_one_batch(race: RaceActors, explore: Explore) -> None:
    where = doomed(race)

    def held_or_finished(outcomes: Mapping[str, Outcome]) -> None:
        before = race.world.value("SELECT count(*) FROM tag WHERE repository_id = %s", (int(where),))
        purge(race, where)()
        after = race.world.value("SELECT count(*) FROM tag WHERE repository_id = %s", (int(where),))
        if before != after:
            raise Broken("a purge went on under a hold")
        race.world.execute("DELETE FROM dredge_hold")
        finish(race, where)(outcomes)

    explore(purge=purge(race, where), hold=_hold, check=held_or_finished, errors=(Contended,))


def _hold() -> None:
    set_hold(namespace_id=0, repository_id=0, reason="audit", author="ann", until_ms=None)


# --------------------------------------------------------------------------- retention


def retain(race: RaceActors, retention: RetentionPolicy = RULES) -> Callable[[], None]:
    """Judge, then end what was judged."""
    where = race.world.repository_id

    def work() -> None:
        judged = judge_repository(where, policy=race.policy, retention=retention)
        end_chosen(judged, judged.chosen, policy=race.policy, retention=retention)

    return work


def old_tags(race: RaceActors) -> dict[str, Row]:
    made = {}
    for n, name in enumerate(("first", "second", "third")):
        image = race.have(race.image(race.layer(f"layer of {name}"), note=name))
        start_ms = race.world.now_ms - (9 - n) * DAY_MS
        made[name] = race.world.tag(name, manifest=image, start_ms=start_ms)
    return made


def test_case_73_retention_beside_a_move_of_the_tag(race: RaceActors, explore: Explore) -> None:
    """The claim of the move holds afterwards: retention never ends the row that it began."""
    tags = old_tags(race)
    explore(
        retain=retain(race),
        move=race.tag("first", tags["third"].manifest.digest),
        collect=race.collect(),
        errors=(Contended, ManifestGone),
    )


def test_case_73_retention_beside_a_protection(race: RaceActors, explore: Explore) -> None:
    old_tags(race)

    def protected(outcomes: Mapping[str, Outcome]) -> None:
        ended = race.world.value("SELECT lifetime_end_ms FROM tag WHERE name = 'first'")
        if outcomes["protect"].ok and outcomes["protect"].value and ended is not None:
            raise Broken("a tag was ended after it had been made immutable")

    explore(
        retain=retain(race),
        protect=lambda: registry.set_tag_immutable(race.world.repository_id, "first") is not None,
        check=protected,
        errors=(Contended, ImmutableTag),
    )


def test_case_73_the_newest_is_deleted_while_retention_judges(race: RaceActors, explore: Explore) -> None:
    """One tag that retention may end is left alive, whichever way it goes."""
    old_tags(race)
    alone = RetentionPolicy(rules=(Rule("one", "expire", glob="*[!r]", newest=1),))

    def one_left(outcomes: Mapping[str, Outcome]) -> None:
        left = race.world.value("SELECT count(*) FROM tag WHERE lifetime_end_ms IS NULL AND name LIKE '%d'")
        second = race.world.value("SELECT lifetime_end_ms FROM tag WHERE name = 'second'")
        if outcomes["delete"].ok and left == 0 and second is not None:
            third, ended = (
                race.world.value(f"SELECT lifetime_end_ms FROM tag WHERE name = '{name}'")
                for name in ("third", "second")
            )
            if third <= ended:
                raise Broken("a tag was ended though the newer ones were gone before it")

    explore(retain=retain(race, alone), delete=race.delete("third"), check=one_left, errors=(Contended,))


def test_case_75_a_digest_begins_to_run_while_retention_and_a_collection_work(
    race: RaceActors, explore: Explore
) -> None:
    tags = old_tags(race)
    running = tags["first"].manifest

    def kept(outcomes: Mapping[str, Outcome]) -> None:
        if race.world.value("SELECT count(*) FROM manifest WHERE id = %s", (int(running),)) != 1:
            raise Broken("a manifest that runs was collected")

    explore(
        retain=retain(race),
        run=lambda: replace_in_use([running.digest]) and None,
        collect=race.collect(),
        check=kept,
        errors=(Contended,),
    )


def test_case_76_a_hold_beside_retention_ends_no_tag_after_it(race: RaceActors, explore: Explore) -> None:
    old_tags(race)

    def held(outcomes: Mapping[str, Outcome]) -> None:
        before = race.world.rows("SELECT id, lifetime_end_ms FROM tag ORDER BY id")
        retain(race)()
        if race.world.rows("SELECT id, lifetime_end_ms FROM tag ORDER BY id") != before:
            raise Broken("a tag was ended under a hold")

    explore(retain=retain(race), hold=_hold, check=held, errors=(Contended,))


def test_case_73_a_restore_beside_retention_and_a_collection(race: RaceActors, explore: Explore) -> None:
    """A restored tag begins now: no rule about old tags ends it, whenever it was judged."""
    tags = old_tags(race)
    race.world.execute("UPDATE tag SET lifetime_end_ms = %s WHERE name = 'first'", (race.world.now_ms - 10,))

    def restored(outcomes: Mapping[str, Outcome]) -> None:
        rows = race.world.rows("SELECT lifetime_end_ms FROM tag WHERE name = 'first' AND reversion")
        if outcomes["restore"].ok and rows != [(None,)]:
            raise Broken(f"the restored tag does not live: {rows}")

    explore(
        retain=retain(race),
        restore=lambda: (
            registry.restore_tag(race.world.repository_id, "first", tags["first"].manifest.digest) and None
        ),
        collect=race.collect(),
        check=restored,
        errors=(Contended, NotRestorable, ManifestGone, NoSuchTag),
    )


def test_two_retentions_end_each_tag_once(race: RaceActors, explore: Explore) -> None:
    old_tags(race)

    def once(outcomes: Mapping[str, Outcome]) -> None:
        names: list[Any] = race.world.rows("SELECT tag FROM dredge_ended_tag")
        if sorted(names) != [("first",), ("second",)]:
            raise Broken(f"ended: {names}")

    explore(first=retain(race), second=retain(race), check=once, errors=(Contended,))
