"""The shared state of the programs outside the database: the clock, the object store, Quay's Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.model.operations import Do, Operation, Program, Row

# The maximum duration of each step, in the model's milliseconds.
LATE, FENCE, LEASE, QUARANTINE, GRACE, QUAY_PUSH = 20, 60, 100, 1_000, 10, 200
# The fence of an object that can be put back: a request may land after it.
SHORT_FENCE = 10


@dataclass
class Request:
    """A request to the store, from its sending until it is carried out."""

    kind: str
    path: str
    trash: str
    landed: bool = False
    existed: bool = False


class World:
    """The objects by path, the clock, and the actions that must end before a certain time."""

    __slots__ = (
        "claims",
        "frozen",
        "holds",
        "killed",
        "last_id",
        "mounted",
        "now",
        "objects",
        "redis",
        "spawn",
    )

    def __init__(self, objects: Sequence[str]) -> None:
        self.now = 0
        self.objects = set(objects)
        self.mounted = True
        self.redis: dict[str, str] = {}
        self.holds: dict[object, int] = {}
        self.frozen: set[str] = set()
        self.killed: set[str] = set()
        self.spawn: list[tuple[str, Program]] = []
        self.claims: list[tuple[str, str]] = []
        self.last_id = 100

    def new_id(self) -> int:
        """Return an ID that no row has."""
        self.last_id += 1
        return self.last_id

    def may_pass(self, moment: int) -> bool:
        """Return whether everything that must end before this moment has ended."""
        return all(moment <= limit for limit in self.holds.values())

    def pass_to(self, moment: int) -> None:
        """Let time pass."""
        self.now = max(self.now, moment)


def now() -> Operation:
    """Read the database's clock."""
    return Do(lambda world: world.now)


def new_id() -> Operation:
    """Return an ID for a row to insert."""
    return Do(World.new_id)


def tick(moment: int) -> Operation:
    """Let time pass, after all actions that must happen before."""
    return Do(World.pass_to, (moment,), World.may_pass)


def promise(kind: str, name: str) -> Operation:
    """Report success to the client, which is a promise."""
    return Do(lambda world: world.claims.append((kind, name)))


# ------------------------------------------------------------------------------------------ the store


def _seen(world: World, path: str) -> bool:
    return world.mounted and path in world.objects


def exists(path: str) -> Operation:
    """Check for the object with a HEAD request."""
    return Do(_seen, (path,))


def write(path: str) -> Operation:
    """Write the object with an atomic PUT request."""
    return Do(lambda world: world.objects.add(path))


def send(request: Request, *, atomic: bool) -> Operation:
    """Send the request.  The store carries it out at some time, at most `LATE` after now.

    `atomic` stores rename the object; other stores copy it, then delete it.
    """

    def start(world: World) -> None:
        world.holds[id(request)] = world.now + LATE
        world.spawn.append((f"network {world.new_id()}", _carried_out(request, atomic)))

    return Do(start)


def answer(request: Request, *, lossy: bool) -> Operation:
    """Return whether the object existed, or None if the sender stopped waiting for the answer."""

    def answered(world: World) -> bool | None:
        return (request.existed if world.mounted else False) if request.landed else None

    return Do(answered, (), None if lossy else lambda world: request.landed)


def _carried_out(request: Request, atomic: bool) -> Program:
    if not atomic and request.kind == "set aside":
        yield Do(_copy, (request,))
    yield Do(_land, (request, atomic))


def _copy(world: World, request: Request) -> None:
    if _seen(world, request.path):
        request.existed = True
        world.objects.add(request.trash)


def _land(world: World, request: Request, atomic: bool) -> None:
    if atomic or request.kind == "erase":
        request.existed = _seen(world, request.path)
    if request.existed:
        world.objects.discard(request.path)
        if atomic and request.kind == "set aside":
            world.objects.add(request.trash)
    request.landed = True
    world.holds.pop(id(request), None)


def put_back(path: str, trash: str) -> Operation:
    """Copy from the trash if the live path is free; the copy in the trash stays."""

    def copy(world: World) -> bool:
        if world.mounted and trash in world.objects:
            world.objects.add(path)
        return _seen(world, path)

    return Do(copy)


def purge(trash: str) -> Operation:
    """Delete an object of the trash, by a name that no live path has."""
    return Do(lambda world: world.objects.discard(trash))


def stored() -> Operation:
    """Return what a listing shows."""
    return Do(lambda world: sorted(world.objects) if world.mounted else [])


# ----------------------------------------------------------------------------------------- disturbers


def acquire(key: str, owner: str) -> Operation:
    """Take Quay's lock in its Redis."""
    return Do(lambda world: world.redis.__setitem__(key, owner), (), lambda world: key not in world.redis)


def release(key: str, owner: str) -> Operation:
    """Release Quay's lock if this owner still has it."""
    return Do(lambda world: world.redis.get(key) == owner and world.redis.pop(key))


def disturb(what: Callable[[World], None]) -> Program:
    """Return a program of one step, which calls `what`."""
    yield Do(what)


def passing(moments: Sequence[int]) -> Program:
    """Let time pass in these steps."""
    for moment in moments:
        yield tick(moment)


def mounted(yes: bool) -> Callable[[World], None]:
    """Return a step that mounts or unmounts the store's directory."""

    def change(world: World) -> None:
        world.mounted = yes

    return change


Rows = Mapping[str, Sequence[Row]]
