"""Programs of tags, and of the collector, the review and the sweep that find dead manifests and blobs."""

from __future__ import annotations

from bench.model import world as w
from bench.model.operations import (
    COMMIT,
    KEY_SHARE,
    ROLLBACK,
    SHARE,
    UPDATE,
    Advisory,
    Delete,
    Insert,
    Lock,
    Program,
    Refused,
    Select,
    Update,
)
from bench.model.rules import Rules


def tag(name: str, manifest: int) -> Program:
    """Point a tag at a manifest."""
    if not (yield Lock("manifest", {"id": manifest}, KEY_SHARE)):
        raise Refused("NoSuchManifest")
    yield Insert("tag", {"id": (yield w.new_id()), "name": name, "manifest": manifest, "ended": 0})
    yield COMMIT
    yield w.promise("tag", name)


def restore(name: str) -> Program:
    """Restore a tag that ended inside its window, as a new row."""
    rows = yield Lock("tag", {"name": name}, UPDATE)
    window = (yield Select("namespace"))[0]["window"]
    since = (yield w.now()) - window
    gone = [row for row in rows if row["ended"] and row["ended"] > since]
    if not gone:
        raise Refused("NotRestorable")
    yield from tag(name, gone[0]["manifest"])


def mount(digest: str, name: str) -> Program:
    """Push a manifest that names an existing blob, without writing its bytes."""
    found = yield Lock("blob", {"digest": digest}, KEY_SHARE)
    if not found:
        raise Refused("NoSuchBlob")
    manifest = yield w.new_id()
    yield Insert("manifest", {"id": manifest})
    yield Insert("manifestblob", {"id": manifest, "manifest": manifest, "blob": found[0]["id"]})
    yield Insert("tag", {"id": (yield w.new_id()), "name": name, "manifest": manifest, "ended": 0})
    yield COMMIT
    yield w.promise("tag", name)


def lengthen(window: int) -> Program:
    """Set a longer window for the owner."""
    yield Update("namespace", {"id": 1}, {"window": window})


def collect(rules: Rules, *, repository: str = "app") -> Program:
    """Collect one batch: tags whose window has closed, then manifests and blobs that nothing uses."""
    if not (yield Advisory(repository, skip=True)):
        return
    window = (yield Select("namespace"))[0]["window"]
    until = {"ended": (yield w.now()) - window}
    taken = yield Lock("candidate_manifest", {}, UPDATE, True)
    doomed = yield Lock("tag", {"ended": tuple(range(1, 100))}, UPDATE, True, until)
    seeds = {row["manifest"] for row in (*doomed, *taken)}
    for row in doomed:
        yield Delete("tag", {"id": row["id"]})
    for row in taken:
        yield Delete("candidate_manifest", {"id": row["id"]})
    early = None if rules.lock_manifests else (yield Select("tag"))
    where = {"id": tuple(sorted(seeds))}
    locked = {row["id"] for row in (yield Lock("manifest", where, UPDATE, True))}
    for manifest in sorted(seeds - locked) if rules.record_skipped else ():
        yield Insert("candidate_manifest", {"id": (yield w.new_id()), "manifest": manifest})
    # A new statement, which sees rows that were committed before the locks were granted.
    used = {row["manifest"] for row in (early if early is not None else (yield Select("tag")))}
    for manifest in sorted(locked - used):
        yield from _purge(manifest, rules)
    if (yield Lock("namespace", {}, SHARE))[0]["window"] > window and rules.window_read_again:
        yield ROLLBACK
    else:
        yield COMMIT


def _purge(manifest: int, rules: Rules) -> Program:
    for row in (yield Delete("manifestblob", {"manifest": manifest})):
        if not rules.candidates_without_looking and (yield Select("manifestblob", {"blob": row["blob"]})):
            continue
        yield Insert("candidate", {"id": (yield w.new_id()), "blob": row["blob"]})
    yield Delete("tag", {"manifest": manifest})
    yield Delete("manifest", {"id": manifest})


def review(rules: Rules) -> Program:
    """Review blob candidates: delete a dead one's row and write its tombstone, in one transaction."""
    taken = yield Lock("candidate", {}, UPDATE, True)
    blobs = tuple(sorted({row["blob"] for row in taken}))
    early = None if rules.judge_after_lock else (yield from _used(blobs))
    if rules.judge_after_lock:
        locked = {row["id"]: row for row in (yield Lock("blob", {"id": blobs}, UPDATE, True))}
    else:
        locked = {row["id"]: row for row in (yield Select("blob", {"id": blobs}))}
    used = early if early is not None else (yield from _used(blobs))
    there = {row["id"] for row in (yield Select("blob", {"id": blobs}))}
    moment = yield w.now()
    written = []
    for row in taken:
        if row["blob"] in locked or row["blob"] not in there:
            yield Delete("candidate", {"id": row["id"]})
    for number, blob in locked.items():
        if number in used:
            continue
        yield Delete("blob", {"id": number})
        written.append(
            {
                "id": (yield w.new_id()),
                "digest": blob["digest"],
                "location": blob["location"],
                "state": "dead",
                "due": moment + w.GRACE,
                "leased": 0,
                "token": "",
                "sent": 0,
            }
        )
    if not rules.tombstone_with_rows:
        yield COMMIT
    for tombstone in written:
        yield Insert("tombstone", tombstone)
    yield COMMIT


def _used(blobs: tuple[int, ...]) -> Program:
    used = {row["blob"] for row in (yield Select("manifestblob", {"blob": blobs}))}
    return used | {row["blob"] for row in (yield Select("marker", {"blob": blobs}))}


def sweep(location: str, rules: Rules) -> Program:
    """Write a tombstone, under the digest's lock, for each object without a row and a tombstone."""
    for digest in (yield w.stored()):
        if "/" in digest or digest == "identity":
            continue
        yield Advisory(digest)
        where = {"digest": digest} if rules.look_by_store else {"digest": digest, "location": location}
        known = (yield Select("blob", where)) or (yield Select("tombstone", {"digest": digest}))
        if not known:
            dead = {"id": (yield w.new_id()), "digest": digest, "location": location, "state": "dead"}
            yield Insert("tombstone", {**dead, "due": (yield w.now()), "leased": 0, "token": "", "sent": 0})
        yield COMMIT
