"""Programs that erase an object or set it aside, put it back if it is referenced again, and purge it."""

from __future__ import annotations

from bench.model import world as w
from bench.model.operations import (
    COMMIT,
    ROLLBACK,
    UPDATE,
    Delete,
    Do,
    Insert,
    Lock,
    Program,
    Row,
    Select,
    Update,
)
from bench.model.push import cancel
from bench.model.rules import Rules


def trash_of(tombstone: Row) -> str:
    """Return the object's name in the trash, which no live path has."""
    return f"trash/{tombstone['id']}/{tombstone['digest']}"


def erase(me: str, rules: Rules) -> Program:
    """Run one turn: claim by a lease, then fence, send and settle each object; at the end tend the trash."""
    moment = yield w.now()
    upto = {"due": moment, "leased": moment}
    taken = yield Lock("tombstone", {"state": "dead"}, UPDATE, True, upto)
    for row in taken:
        yield Update("tombstone", {"id": row["id"]}, {"token": me, "leased": moment + w.LEASE})
    if rules.leases:
        yield COMMIT
    for row in taken:
        yield from _erase_one(row, me, rules)
    if not rules.leases:
        yield COMMIT
    yield from tend(me, rules)


def _is_short(rules: Rules) -> bool:
    """Return whether the fence may end before a late request, because the object can be put back."""
    return rules.short and (rules.quarantine or not rules.short_needs_trash)


def _fence(row: Row, until: int) -> Program:
    number = yield w.new_id()
    fence = {"id": number, "tombstone": row["id"], "digest": row["digest"], "until": until}
    yield Insert("fence", fence)
    yield Update("tombstone", {"id": row["id"]}, {"sent": until})
    return number


def _referred(row: Row, rules: Rules) -> Program:
    if not rules.look_at_references:
        return False
    where: Row = {"digest": row["digest"]}
    if not rules.look_by_store:
        where["location"] = row["location"]
    if not rules.unready_rows_count:
        where["ready"] = True
    return bool((yield Select("blob", where)))


def _erase_one(row: Row, me: str, rules: Rules) -> Program:
    if rules.identity and not (yield w.exists("identity")):
        return
    if rules.quay:
        yield w.acquire(row["digest"], me)
    mine = (yield Lock("tombstone", {"id": row["id"], "token": me}, UPDATE)) if rules.leases else [row]
    moment = yield w.now()
    if not mine or mine[0]["state"] != "dead" or mine[0]["leased"] <= moment:
        yield ROLLBACK
    elif (yield from _referred(row, rules)):
        yield from cancel(row["digest"], rules)
        yield COMMIT
    elif rules.fence_outlives_retry and (yield from _fenced(row, moment)):
        yield Update("tombstone", {"id": row["id"]}, {"due": moment + w.FENCE})
        yield COMMIT
    else:
        yield from _request(row, me, rules, moment)
    if rules.quay:
        yield w.release(row["digest"], me)


def _fenced(row: Row, moment: int) -> Program:
    fences = yield Select("fence", {"digest": row["digest"]})
    return any(fence["until"] > moment for fence in fences)


def _request(row: Row, me: str, rules: Rules, moment: int) -> Program:
    is_short = _is_short(rules)
    until = moment + (w.SHORT_FENCE if is_short else w.FENCE)
    fence = yield from _fence(row, until)
    if rules.leases:
        yield COMMIT
    last = until - w.LATE if rules.late_is_counted and not is_short else until
    looked = yield Do(_look, (row["id"], last, rules))
    existed = None
    if looked:
        kind = "set aside" if rules.quarantine else "erase"
        request = w.Request(kind, row["digest"], trash_of(row))
        if not rules.one_attempt:
            yield w.send(w.Request(kind, row["digest"], trash_of(row)), atomic=rules.atomic)
        yield w.send(request, atomic=rules.atomic)
        yield Do(lambda world: world.holds.pop(("look", row["id"]), None))
        existed = yield w.answer(request, lossy=rules.lossy)
        if existed is False and rules.identity and not (yield from _really_missing(row)):
            existed = None
    yield from _settle(row, me, rules, fence, existed, sent=bool(looked))


def _really_missing(row: Row) -> Program:
    """Verify that an object is missing: the store shows its identity, and *then* lacks it again."""
    return (yield w.exists("identity")) and not (yield w.exists(row["digest"]))


def _look(world: w.World, number: int, last: int, rules: Rules) -> bool:
    """Check the clock for the last time.  A process that is not frozen sends right after it."""
    if rules.look_before_send and world.now > last:
        return False
    if not rules.freezes and rules.look_before_send:
        world.holds["look", number] = last
    return True


def _settle(row: Row, me: str, rules: Rules, fence: int, existed: bool | None, *, sent: bool) -> Program:
    """Record a definite answer, which ends the fence of its own request only."""
    mine = yield Lock("tombstone", {"id": row["id"]}, UPDATE)
    moment = yield w.now()
    ours = [each for each in mine if each["token"] == me and each["state"] == "dead"]
    if existed is None and sent:
        for each in ours:
            yield Update("tombstone", {"id": each["id"]}, {"due": moment + 5, "token": "", "leased": 0})
    else:
        ended = {"id": fence} if rules.fence_outlives_retry else {"digest": row["digest"]}
        yield Delete("fence", ended)
        for each in ours if sent else ():
            others = yield Select("fence", {"tombstone": each["id"]})
            end = max([other["until"] for other in others], default=moment) + w.QUARANTINE
            if rules.quarantine:
                yield Update("tombstone", {"id": each["id"]}, {"state": "aside", "due": end, "leased": 0})
            else:
                yield Delete("tombstone", {"id": each["id"]})
    if rules.leases:
        yield COMMIT


# ------------------------------------------------------------------------------------------ quarantine


def tend(me: str, rules: Rules) -> Program:
    """Put back objects that are referenced again, and purge objects whose quarantine is over."""
    moment = yield w.now()
    where = {"state": ("aside", "kept")}
    for row in (yield Lock("tombstone", where, UPDATE, True, {"leased": moment})):
        yield Update("tombstone", {"id": row["id"]}, {"token": me, "leased": moment + w.LEASE})
        yield COMMIT
        referred = yield from _referred(row, rules)
        yield COMMIT
        there = (yield w.exists(row["digest"])) if referred else True
        if not there:
            there = yield w.put_back(row["digest"], trash_of(row))
        due = row["due"] <= (yield w.now())
        if referred and not rules.kept_after_return:
            due = True
        if referred and not rules.trash_kept_beside_live:
            yield w.purge(trash_of(row))
        if there and due:
            yield from _forget(row, me)
        else:
            yield Update("tombstone", {"id": row["id"], "token": me}, {"leased": 0})
            yield COMMIT


def _forget(row: Row, me: str) -> Program:
    yield w.purge(trash_of(row))
    if (yield Lock("tombstone", {"id": row["id"], "token": me}, UPDATE)):
        yield Delete("fence", {"tombstone": row["id"]})
        yield Delete("tombstone", {"id": row["id"]})
    yield COMMIT
