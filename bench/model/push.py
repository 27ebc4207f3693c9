"""Programs that push a blob: Dredge writes the reference first, an unmodified Quay writes it last."""

from __future__ import annotations

from bench.model import world as w
from bench.model.operations import (
    COMMIT,
    KEY_SHARE,
    ROLLBACK,
    UPDATE,
    Advisory,
    Delete,
    Do,
    Insert,
    Lock,
    Program,
    Refused,
    Select,
    Sleep,
    Update,
)
from bench.model.rules import Rules


def push(digest: str, tag: str, rules: Rules, *, name: str = "a") -> Program:
    """Push by Dredge: write the reference, then the bytes, then the manifest and its tag."""
    while True:
        if rules.digest_lock:
            yield Advisory(digest)
        blob = yield from _refer(digest, name)
        yield from cancel(digest, rules)
        until = max([f["until"] for f in (yield Select("fence", {"digest": digest}))], default=0)
        if not rules.fence_stops_pushes or until <= (yield w.now()):
            break
        yield ROLLBACK
        yield Sleep(until)
    yield Insert("marker", {"id": (yield w.new_id()), "blob": blob})
    yield COMMIT
    if not (yield w.exists(digest)):
        yield w.write(digest)
    yield from _tagged(blob, tag)


def _refer(digest: str, location: str) -> Program:
    rows = yield Lock("blob", {"digest": digest}, KEY_SHARE)
    if rows:
        return rows[0]["id"]
    number = yield w.new_id()
    yield Insert("blob", {"id": number, "digest": digest, "location": location, "ready": True})
    return number


def _tagged(blob: int, tag: str) -> Program:
    if not (yield Lock("blob", {"id": blob}, KEY_SHARE)):
        raise Refused("BlobGone")
    manifest = yield w.new_id()
    yield Insert("manifest", {"id": manifest})
    yield Insert("manifestblob", {"id": manifest, "manifest": manifest, "blob": blob})
    yield Insert("tag", {"id": (yield w.new_id()), "name": tag, "manifest": manifest, "ended": 0})
    yield Delete("marker", {"blob": blob})
    yield COMMIT
    yield w.promise("tag", tag)


def cancel(digest: str, rules: Rules) -> Program:
    """Cancel a tombstone.

    If a request used the tombstone's name in the trash, the row stays until the quarantine ends, because a
    frozen process or a late request may use that name again.
    """
    for row in (yield Lock("tombstone", {"digest": digest, "state": "dead"}, UPDATE)):
        if rules.quarantine and rules.kept_after_cancel and row["sent"]:
            yield Update("tombstone", {"id": row["id"]}, {"state": "kept", "due": row["sent"] + w.QUARANTINE})
        else:
            yield Delete("tombstone", {"id": row["id"]})


def quay_push(digest: str, tag: str, rules: Rules) -> Program:
    """Push by an unmodified Quay: check for the object first, and later write the row under Quay's lock."""
    yield Do(lambda world: world.holds.__setitem__("quay", world.now + w.QUAY_PUSH))
    if not (yield w.exists(digest)):
        yield w.write(digest)
    yield w.acquire(digest, "quay")
    rows = yield Lock("blob", {"digest": digest}, KEY_SHARE)
    if rows:
        blob = rows[0]["id"]
    else:
        blob = yield w.new_id()
        # Quay never marks its uploads as ended.
        yield Insert("blob", {"id": blob, "digest": digest, "location": "a", "ready": False})
    yield Insert("marker", {"id": (yield w.new_id()), "blob": blob})
    yield COMMIT
    yield w.release(digest, "quay")
    yield Do(lambda world: world.holds.pop("quay"))
    yield from _tagged(blob, tag)
