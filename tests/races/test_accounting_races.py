"""The same work twice, accounting, and the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from model import storage_paths
from model.db.clock import now_ms
from model.db.connection import execute, transaction
from model.errors import BlobGone, DigestBusy, ManifestGone, NoSuchBlob
from model.gc.orphans.objects import mark_unknown_objects
from model.policy import HOUR_MS
from tests.support.explorer import Report
from tests.support.explorer_steps import Outcome
from tests.support.pipeline import LOCATION
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.world import digest_of

Explore = Callable[..., Report]


def test_case_37_every_stage_runs_twice_at_once(race: RaceActors, explore: Explore) -> None:
    image = race.have(race.image(race.layer("one"), race.layer("two")))
    gone_tag(race.world, image)

    def one_event(outcomes: Mapping[str, Outcome]) -> None:
        rows = race.world.rows("SELECT data FROM dredge_event WHERE type = 'registry.manifest.collected'")
        assert len(rows) <= 1

    explore(first=race.collect(), second=race.collect(), check=one_event)


def test_case_37_two_reviews_and_two_erasers(race: RaceActors, explore: Explore) -> None:
    for n in range(2):
        for _ in range(2):
            race.world.insert("dredge_blob_candidate", blob_id=race.layer(f"dead {n}"), created_ms=1)
    explore(first=race.review, second=race.review, erase=race.erase)


def test_case_43_the_cleaner_meets_an_upload_that_is_resumed(race: RaceActors, explore: Explore) -> None:
    upload = race.world.upload(created_ms=race.world.now_ms - 49 * HOUR_MS)
    path = f"uploads/{upload.uuid}"
    race.harness.store.objects[path] = b"first"

    def resume() -> None:
        with transaction():
            held = execute("UPDATE blobupload SET created = now() WHERE uuid = %s", (upload.uuid,))
            if not held:
                raise BlobGone(digest=upload.uuid)

    def whole(outcomes: Mapping[str, Outcome]) -> None:
        if outcomes["resume"].ok:
            assert path in race.harness.store.objects

    explore(resume=resume, collect=race.collect(), erase=race.erase, check=whole, errors=(BlobGone,))


def test_case_44_a_push_meets_the_sweep_that_confirms_its_object(race: RaceActors, explore: Explore) -> None:
    path = storage_paths.object_path(digest_of("unknown"), True, "")
    race.harness.store.objects[path] = b"unknown"
    race.world.execute("INSERT INTO dredge_orphan VALUES ('object', %s, 1)", (f"{LOCATION}:{path}",))

    def sweep() -> None:
        mark_unknown_objects(LOCATION, path.rpartition("/")[0], [(path, 7)], now_ms=now_ms(), delay_ms=0)

    explore(push=race.push_blob("unknown"), sweep=sweep, erase=race.erase)


def test_case_49_quota_of_a_blob_that_two_repositories_drop_and_one_takes(
    race: RaceActors, explore: Explore
) -> None:
    shared, other = race.layer("shared"), race.world.repository()
    gone_tag(race.world, race.have(race.image(shared, note="1")))
    gone_tag(race.world, race.have(race.image(shared, note="2"), other))
    explore(first=race.collect(), second=race.collect(other))
    race.harness.reset()
    race.world.uploaded(shared)
    explore(
        drop=race.collect(other),
        drop_too=race.collect(),
        push=race.push_image(race.image(shared, note="3")),
        errors=(NoSuchBlob,),
    )


def test_case_53_collectors_of_overlapping_layers_and_a_review(race: RaceActors, explore: Explore) -> None:
    layers, other = [race.layer(f"base {n}") for n in range(3)], race.world.repository()
    gone_tag(race.world, race.have(race.image(*layers)))
    gone_tag(race.world, race.have(race.image(*reversed(layers)), other))
    explore(first=race.collect(), second=race.collect(other), review=race.review)


def test_a_whole_push_beside_the_whole_pipeline(race: RaceActors, explore: Explore) -> None:
    """The dying image is pushed again: blobs, manifest and tag, while all three stages run."""
    image = race.image(race.layer("config"), race.layer("layer"))
    gone_tag(race.world, race.have(image))

    def pipeline() -> None:
        race.collect()()
        race.review()
        race.erase()

    explore(
        push=race.push_all(["config", "layer"], image, "again"),
        pipeline=pipeline,
        errors=(NoSuchBlob, ManifestGone, DigestBusy),
    )
