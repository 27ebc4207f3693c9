"""`dredge explain`: why a tag, a manifest, a blob, a repository or an object is there."""

from __future__ import annotations

from pathlib import Path

from model.gc.due.attempt import claim, record_failure
from model.policy import HOUR_MS
from model.storage_paths import EMPTY_LAYER_PATH, object_path, trash_path
from tests.support.world import World, digest_of
from tests.worker.cli.conftest import Dredge, Garbage


def explained(dredge: Dredge, digest: str, **settings: str) -> tuple[bool, list[str]]:
    (said,) = dredge("explain", f"acme/app@{digest}", "--json", **settings).lines
    assert said["subject"] == digest
    return said["kept"], said["reasons"]


def test_explain_names_the_tags_that_keep_a_manifest(world: World, dredge: Dredge) -> None:
    manifest = world.tag("latest").manifest
    world.tag("v1", manifest=manifest, ended_ms=world.now_ms - HOUR_MS)
    kept, reasons = explained(dredge, manifest.digest)
    assert kept and reasons[0] == "has the living tag latest" and "v1, which can be restored" in reasons[1]
    text = dredge("explain", f"acme/app@{manifest.digest}")
    assert text.code == 0 and text.out.splitlines()[0] == f"manifest {manifest.digest} is kept:"


def test_explain_names_the_manifests_that_keep_a_manifest(world: World, dredge: Dredge) -> None:
    child = world.manifest()
    index = world.manifest(children=[child])
    signature = world.manifest(subject=index.digest)
    world.tag("latest", manifest=index)
    world.tag("$temp-1", manifest=signature, hidden=True, start_ms=1)
    assert explained(dredge, child.digest) == (True, [f"is listed by the index {index.digest}"])
    kept, reasons = explained(dredge, index.digest)
    assert kept and reasons[-1] == f"is the subject of {signature.digest}"
    kept, reasons = explained(dredge, signature.digest, REFERRERS="cascade")
    assert kept and f"lives as long as its subject {index.digest}" in reasons


def test_explain_says_what_goes_and_when(world: World, dredge: Dredge) -> None:
    world.tag("bystander")
    dead = world.tag("v1", ended_ms=1).manifest
    untraced = world.manifest()
    kept, reasons = explained(dredge, dead.digest)
    assert not kept and reasons[0] == "goes with the next collection" and "past its recovery" in reasons[1]
    kept, reasons = explained(dredge, untraced.digest)
    assert not kept and "dredge sweep will find it" in reasons[0]
    text = dredge("explain", f"acme/app@{dead.digest}")
    assert text.out.splitlines()[0].endswith("will be removed:")


def test_explain_knows_blobs_and_objects(world: World, dredge: Dredge) -> None:
    used, pushed, forgotten = world.blob(), world.blob(), world.blob()
    manifest = world.tag("latest", manifest=world.manifest(blobs=[used])).manifest
    world.uploaded(pushed)
    assert explained(dredge, used.digest) == (True, [f"is used by acme/app@{manifest.digest}"])
    assert explained(dredge, pushed.digest) == (True, ["is held by a push to acme/app"])
    assert explained(dredge, forgotten.digest)[0] is False
    tombstone = {"path": "p", "location": "l", "size": 1, "created_ms": 1, "due_ms": 1}
    world.insert("dredge_tombstone", digest=digest_of("gone"), tries=2, last_error="denied", **tombstone)
    kept, reasons = explained(dredge, digest_of("gone"))
    assert not kept and "2 failures: denied" in reasons[0]


def test_explain_says_that_a_disabled_namespace_is_left_alone(world: World, dredge: Dredge) -> None:
    dead = world.tag("v1", ended_ms=1).manifest
    world.execute('UPDATE "user" SET enabled = false')
    kept, reasons = explained(dredge, dead.digest)
    assert kept and "not collected" in reasons[0]


def test_explain_of_what_nobody_knows_is_one_line(world: World, dredge: Dredge) -> None:
    world.tag("bystander")
    said = dredge("explain", f"acme/app@{digest_of('nothing')}")
    assert said.code == 1 and said.err == f"dredge: no row has the digest {digest_of('nothing')}\n"
    assert dredge("explain", "acme/app@latest").code == 2
    assert dredge("explain", "latest").code == 2


def said_of(dredge: Dredge, what: str, **settings: str) -> tuple[str, bool, list[str]]:
    (said,) = dredge("explain", what, "--json", **settings).lines
    assert said["subject"] == what
    return said["kind"], said["kept"], said["reasons"]


def test_explain_says_how_long_a_tag_lives_and_which_rules_keep_or_end_it(
    world: World, dredge: Dredge, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n"
        "  - {name: releases, action: keep, newest: 1, tags: 'v*'}\n"
        "  - {name: old, action: expire, older_than: 1d}\n"
    )
    day_ms = 24 * HOUR_MS
    world.tag("v2", start_ms=world.now_ms - 3 * day_ms)
    world.tag("v1", start_ms=world.now_ms - 4 * day_ms)
    fresh = world.tag("fresh", ended_ms=world.now_ms + HOUR_MS)
    world.tag("done", ended_ms=world.now_ms - HOUR_MS)
    world.tag("over", ended_ms=world.now_ms - 15 * day_ms)
    with world.changes() as changes:
        kind, kept, reasons = said_of(dredge, "acme/app:v2", RETENTION_FILE=str(rules))
        assert (kind, kept) == ("tag", True)
        assert "among the 1 newest that the rule 'releases' keeps" in reasons
        assert said_of(dredge, "acme/app:v1", RETENTION_FILE=str(rules))[2][-1] == (
            "the rule 'old' ends it with its next run"
        )
        reasons = said_of(dredge, "acme/app:fresh", RETENTION_FILE=str(rules))[2]
        assert reasons[0] == f"points at {fresh.manifest.digest}" and reasons[1].startswith(
            "ends by itself in 59m "
        )
        assert reasons[2:] == ["the rule 'releases' does not select it", "the rule 'old' does not select it"]
        assert said_of(dredge, "acme/app:fresh")[2][-1] == "no retention rule holds for its repository"
        kind, kept, reasons = said_of(dredge, "acme/app:done")
        assert not kept and reasons[1].startswith("can be restored for 13d 2")
        assert "past its recovery window" in said_of(dredge, "acme/app:over")[2][1]
    assert not changes
    missing = dredge("explain", "acme/app:nothing")
    assert (
        missing.code == 1
        and missing.err == "dredge: There is no tag acme/app:nothing: see dredge tag history acme/app\n"
    )


def test_explain_of_a_bare_digest_names_every_repository_that_has_it(world: World, dredge: Dredge) -> None:
    manifest = world.tag("latest").manifest
    other = world.repository("other")
    world.execute("UPDATE manifest SET digest = %s WHERE id = %s", (digest_of("both"), manifest))
    second = world.tag("latest", manifest=world.manifest(other), repository=other).manifest
    world.execute("UPDATE manifest SET digest = %s WHERE id = %s", (digest_of("both"), second))
    lines = dredge("explain", digest_of("both"), "--json").lines
    assert [line["subject"].partition("@")[0] for line in lines] == ["acme/app", "acme/other"]
    assert all(line["kept"] for line in lines)
    assert dredge("explain", digest_of("nothing")).code == 1


def test_explain_of_a_repository_says_what_the_next_collection_does_and_why_it_waits(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    assert said_of(dredge, "acme/app")[2] == [
        "has no tag past its recovery window, and no manifest that nothing uses"
    ]
    garbage.image("v1", dead_for_ms=1)
    garbage.image("v2", dead_for_ms=-HOUR_MS)
    claim([world.repository_id])
    record_failure(world.repository_id, "the odd manifest")
    kind, kept, reasons = said_of(dredge, "acme/app")
    assert (kind, kept) == ("repository", True)
    assert reasons[0] == "the next collection removes 1 tag and 1 manifest"
    assert reasons[1].startswith("more becomes garbage in ")
    assert reasons[2] == "it waits because: failed 1 time: the odd manifest"
    assert dredge("repository", "delete", "acme/app", "--yes").code == 0
    kind, kept, reasons = said_of(dredge, "acme/app")
    assert not kept and reasons[0].startswith("was deleted, and can be restored for ")
    assert "the next look for purges takes it" in said_of(dredge, "acme/app", PURGE_GRACE_S="0")[2][0]
    assert "There is no repository acme/ap" in dredge("explain", "acme/ap").err


def test_explain_of_an_object_goes_by_the_rows(world: World, dredge: Dredge) -> None:
    used = world.blob()
    world.tag("latest", manifest=world.manifest(blobs=[used]))
    assert said_of(dredge, object_path(used.digest, True, ""))[:2] == ("object", True)
    old = world.blob(cas_path=False)
    assert said_of(dredge, f"sharedimages/{old.uuid}/layer")[1] is False
    upload = world.upload()
    assert said_of(dredge, f"uploads/{upload.uuid}")[2] == ["is part of an upload to acme/app"]
    assert said_of(dredge, "uploads/nobody")[2] == ["no row knows it: dredge sweep finds it, if it is there"]
    assert said_of(dredge, EMPTY_LAYER_PATH)[1] and said_of(dredge, "dredge-identity")[1]
    gone = object_path(digest_of("gone"), True, "")
    trash = trash_path(17, gone)
    world.insert(
        "dredge_quarantine",
        id=17,
        digest=digest_of("gone"),
        path=gone,
        location="mars",
        trash=trash,
        version="",
        size=1,
        set_aside_ms=1,
        look_ms=1,
        purge_ms=world.now_ms + HOUR_MS,
    )
    for path in (gone, trash):
        _, kept, reasons = said_of(dredge, path)
        assert not kept and reasons[0].startswith("is in the trash of mars, and is erased in ")
    assert said_of(dredge, trash_path(18, gone))[2] == ["no row of the trash knows it: it stays"]
