"""The same work twice, accounting, and the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from model import storage_paths
from model.db.clock import now_ms
from model.db.connection import execute, transaction
from model.errors import BlobGone, DigestBusy, ManifestGone, NoSuchBlob
from model.gc.orphans.objects import sight_objects
from model.policy import HOUR_MS
from tests.support.explorer import Report
from tests.support.explorer_steps import Outcome
from tests.support.pipeline import LOCATION
from tests.support.race_actors import Cast, gone_tag
from tests.support.world import digest_of

Explore = Callable[..., Report]


def test_case_37_every_stage_runs_twice_at_once(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("one"), cast.layer("two")))
    gone_tag(cast.world, image)

    def one_event(outcomes: Mapping[str, Outcome]) -> None:
        rows = cast.world.rows("SELECT data FROM dredge_event WHERE type = 'registry.manifest.collected'")
        assert len(rows) <= 1

    explore(first=cast.collect(), second=cast.collect(), check=one_event)


def test_case_37_two_reviews_and_two_erasers(cast: Cast, explore: Explore) -> None:
    for n in range(2):
        for _ in range(2):
            cast.world.insert("dredge_blob_candidate", blob_id=cast.layer(f"dead {n}"), created_ms=1)
    explore(first=cast.review, second=cast.review, erase=cast.erase)


def test_case_43_the_cleaner_meets_an_upload_that_is_resumed(cast: Cast, explore: Explore) -> None:
    upload = cast.world.upload(created_ms=cast.world.now_ms - 49 * HOUR_MS)
    path = f"uploads/{upload.uuid}"
    cast.arena.store.objects[path] = b"first"

    def resume() -> None:
        with transaction():
            held = execute("UPDATE blobupload SET created = now() WHERE uuid = %s", (upload.uuid,))
            if not held:
                raise BlobGone(digest=upload.uuid)

    def whole(outcomes: Mapping[str, Outcome]) -> None:
        if outcomes["resume"].ok:
            assert path in cast.arena.store.objects

    explore(resume=resume, collect=cast.collect(), erase=cast.erase, check=whole, errors=(BlobGone,))


def test_case_44_a_push_meets_the_sweep_that_condemns_its_object(cast: Cast, explore: Explore) -> None:
    path = storage_paths.object_path(digest_of("unknown"), True, "")
    cast.arena.store.objects[path] = b"unknown"
    cast.world.execute("INSERT INTO dredge_sighting VALUES ('object', %s, 1)", (f"{LOCATION}:{path}",))

    def sweep() -> None:
        sight_objects(LOCATION, path.rpartition("/")[0], [(path, 7)], now_ms=now_ms(), delay_ms=0)

    explore(push=cast.push_blob("unknown"), sweep=sweep, erase=cast.erase)


def test_case_49_quota_of_a_blob_that_two_repositories_drop_and_one_takes(
    cast: Cast, explore: Explore
) -> None:
    shared, other = cast.layer("shared"), cast.world.repository()
    gone_tag(cast.world, cast.have(cast.image(shared, note="1")))
    gone_tag(cast.world, cast.have(cast.image(shared, note="2"), other))
    explore(first=cast.collect(), second=cast.collect(other))
    cast.arena.reset()
    cast.world.uploaded(shared)
    explore(
        drop=cast.collect(other),
        drop_too=cast.collect(),
        push=cast.push_image(cast.image(shared, note="3")),
        errors=(NoSuchBlob,),
    )


def test_case_53_collectors_of_overlapping_layers_and_a_review(cast: Cast, explore: Explore) -> None:
    layers, other = [cast.layer(f"base {n}") for n in range(3)], cast.world.repository()
    gone_tag(cast.world, cast.have(cast.image(*layers)))
    gone_tag(cast.world, cast.have(cast.image(*reversed(layers)), other))
    explore(first=cast.collect(), second=cast.collect(other), review=cast.review)


def test_a_whole_push_beside_the_whole_pipeline(cast: Cast, explore: Explore) -> None:
    """The dying image is pushed again: blobs, manifest and tag, while all three stages run."""
    image = cast.image(cast.layer("config"), cast.layer("layer"))
    gone_tag(cast.world, cast.have(image))

    def pipeline() -> None:
        cast.collect()()
        cast.review()
        cast.erase()

    explore(
        push=cast.push_all(["config", "layer"], image, "again"),
        pipeline=pipeline,
        errors=(NoSuchBlob, ManifestGone, DigestBusy),
    )
