"""One process that works on the registry without a pause: `python -m tests.soak.actor '{"role": …}'`."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import registry
from model.blob import mount_blob
from model.db import connection as database
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import RegistryError
from tests.soak import quay
from tests.soak.images import Image, Lost, Pusher, image, index, layer, pull, read_blob
from tests.soak.journal import Entry, Journal
from worker.settings import Settings
from worker.storage.open import open_stores
from worker.transfer.layout_import import patiently

LAYERS = 16
IMAGES = 24
PAUSE_S = 0.02
# A blob that a Quay referred to late is back in its place by then, unless workers are down.
UNREADABLE_S = 30.0


@dataclass
class Actor:
    """Picks what to do by dice; every answer goes into the journal."""

    dice: random.Random
    pusher: Pusher
    journal: Journal
    repositories: list[int]
    tags: list[str]
    name: str
    kept: int = 0

    def turn(self, role: str) -> None:
        """One operation of a role."""
        moves: dict[str, Callable[[int, str], None]] = {
            "push": self.push, "keep": self.keep, "move": self.move, "delete": self.delete,
            "restore": self.restore, "mount": self.mount, "pull": self.pull, "quay": self.quay,
        }  # fmt: skip
        if role == "storm":
            role = self.dice.choice(("push", "move", "delete", "delete", "restore", "restore"))
        if role == "push" and self.dice.random() < 0.25:
            role = "keep"
        moves[role](self.dice.choice(self.repositories), self.dice.choice(self.tags))

    def some_image(self) -> Image:
        """One of a few, with layers of a few: most were pushed before, and many are dying."""
        number = self.dice.randrange(IMAGES)
        chosen = random.Random(number)
        made = image(chosen.sample(range(LAYERS), chosen.randrange(1, 4)), name=str(number))
        if number % 6 == 0:
            return index([made, image(chosen.sample(range(LAYERS), 2), name=f"{number} arm")])
        return made

    def push(self, repository: int, tag: str) -> None:
        made = self.some_image()
        with self.journal.operation("push", repository, tag, made.digest):
            self.pusher.push(repository, made, tag, at_once=self.dice.random() < 0.7)
        if self.dice.random() < 0.3:
            self.sign(repository, made)

    def keep(self, repository: int, tag: str) -> None:
        """An image that nobody deletes, of layers that everybody deletes, signed."""
        self.kept += 1
        name = f"{self.name}-{self.kept}"
        made = image(self.dice.sample(range(LAYERS), 2), name=name)
        with self.journal.operation("keep", repository, name, made.digest) as entry:
            self.pusher.push(repository, made, name, at_once=self.dice.random() < 0.7)
        if entry.yes:
            self.sign(repository, made)

    def quay(self, repository: int, tag: str) -> None:
        """A Quay beside us pushes an image of layers that everybody deletes, under a name of its own."""
        self.kept += 1
        name = f"{self.name}-{self.kept}"
        made = image(self.dice.sample(range(LAYERS), 2), name=name)
        facts = {"blobs": list(made.blobs)}
        with self.journal.operation("quay push", repository, name, made.digest, facts=facts):
            quay.push(self.pusher.stores, repository, made, name, self.dice)

    def sign(self, repository: int, subject: Image) -> None:
        made = image([self.dice.randrange(LAYERS)], name=f"signature {subject.digest}", subject=subject)
        with self.journal.operation("sign", repository, None, made.digest) as entry:
            entry.facts["subject"] = subject.digest
            self.pusher.push(repository, made, None)

    def move(self, repository: int, tag: str) -> None:
        page = registry.list_active_tags(repository, limit=50).tags
        shared = [each for each in page if each.name in self.tags]
        if not shared:
            return
        other = self.dice.choice(shared)
        with self.journal.operation("move", repository, tag, other.digest):
            registry.retarget_tag(repository, tag, other.digest, policy=self.pusher.policy)

    def delete(self, repository: int, tag: str) -> None:
        policy, how = self.pusher.policy, self.dice.random()
        alive = registry.get_tag(repository, tag)
        if how < 0.6 or alive is None:
            with self.journal.operation("delete", repository, tag) as entry:
                entry.changed = registry.delete_tag(repository, tag, policy=policy) is not None
        elif how < 0.8:
            with self.journal.operation("delete for good", repository, tag, alive.digest) as entry:
                gone = registry.delete_tag_permanently(
                    repository, tag, alive.digest, is_alive=True, include_submanifests=True, policy=policy
                )
                entry.changed = bool(gone)
        else:
            with self.journal.operation("delete of manifest", repository, None, alive.digest) as entry:
                gone = registry.delete_tags_for_manifest(repository, alive.digest, policy=policy)
                entry.changed = bool(gone)

    def restore(self, repository: int, tag: str) -> None:
        lifetimes = registry.list_tag_history(repository, name=tag, limit=20).lifetimes
        dead = [each.tag for each in lifetimes if each.restorable]
        if not dead:
            return
        chosen = self.dice.choice(dead)
        with self.journal.operation("restore", repository, tag, chosen.digest) as entry:
            made = registry.restore_tag(repository, tag, chosen.digest, policy=self.pusher.policy)
            self.check(entry, repository, made)

    def mount(self, repository: int, tag: str) -> None:
        """A layer of another repository, without its bytes; then an image that uses it."""
        number, source = self.dice.randrange(LAYERS), self.dice.choice(self.repositories)
        made = image([number], name=f"mounted {number}")
        digest = next(d for d, content in made.blobs.items() if content == layer(number))
        with self.journal.operation("mount", repository, None, digest) as entry:
            mount_blob(source, repository, digest, policy=self.pusher.policy, now_ms=now_ms())
            read_blob(self.pusher.stores, repository, digest)
        if not entry.yes:
            return
        rest = {d: content for d, content in made.blobs.items() if d != digest}
        with self.journal.operation("push mounted", repository, tag, made.digest) as entry:
            entry.facts["mounted"] = digest
            self.pusher.push(repository, Image(made.manifest, rest), tag)

    def pull(self, repository: int, tag: str) -> None:
        begin = time.time()
        page = registry.list_active_tags(repository, limit=1000).tags
        if not page:
            return
        chosen = self.dice.choice(page)
        with self.journal.operation("pull", repository, chosen.name, chosen.digest, begin=begin) as entry:
            entry.changed = False
            self.check(entry, repository, chosen)

    def check(self, entry: Entry, repository: int, tag: registry.Tag) -> None:
        """Every byte of a tag; bytes may be missing only if the tag was moved or deleted meanwhile.

        Beside a Quay a blob may be unreadable for a short time: a client tries again as long.
        """
        deadline = time.monotonic() + UNREADABLE_S
        while True:
            try:
                entry.facts["bytes"] = pull(self.pusher.stores, repository, tag.digest)
                return
            except Lost:
                now = patiently(lambda: registry.get_tag(repository, tag.name))
                if now is None or now.id != tag.id:
                    entry.facts["moved"] = True
                    return
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)


def main(raw: str) -> None:
    """Work until SIGTERM, then end after the operation that is under way."""
    plan: dict[str, Any] = json.loads(raw)
    settings = Settings.from_env(os.environ)
    database.configure(settings.database_url, application_name=f"soak {plan['name']}", max_connections=2)
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    stores = open_stores(settings.storage, upload=settings.upload_location)
    actor = Actor(
        dice=random.Random(f"{plan['seed']} {plan['name']}"),
        pusher=Pusher(stores, settings.policy),
        journal=Journal(Path(plan["directory"]) / f"{plan['name']}.journal"),
        repositories=plan["repositories"],
        tags=plan["tags"],
        name=plan["name"],
    )
    while not ending:
        try:
            with connection():
                actor.turn(plan["role"])
        except RegistryError:
            time.sleep(0.1)  # a look before the operation: not in the books
        time.sleep(actor.dice.uniform(0, 2 * PAUSE_S))
    database.db.close_all()


if __name__ == "__main__":
    main(sys.argv[1])
