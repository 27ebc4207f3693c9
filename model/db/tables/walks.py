"""Tables of what runs again and again: positions of walks, periodic tasks, and the passes of the sweep."""

from __future__ import annotations

from peewee import BigIntegerField, CharField, CompositeKey, TextField

from model.db.tables.base import BaseModel


class Cursor(BaseModel):
    """Where a walk through a large table goes on."""

    name = CharField(64, primary_key=True)
    position = BigIntegerField()
    moved_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_cursor"


class PeriodicTask(BaseModel):
    """A task that beat sends: when it last ended, and when it was last sent because it was late."""

    name = TextField(primary_key=True)
    interval_ms = BigIntegerField()
    since_ms = BigIntegerField()
    ended_ms = BigIntegerField(null=True)
    sent_ms = BigIntegerField(default=0)

    class Meta:
        table_name = "dredge_periodic_task"


class OrphanMark(BaseModel):
    """A suspected orphan that the first pass has marked; a second pass after the delay confirms it."""

    kind = CharField(32)
    key = TextField()
    first_seen_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_orphan"
        primary_key = CompositeKey("kind", "key")


class SweptLocation(BaseModel):
    """How many objects of a location a pass looked at, and how many no row knows; also of the pass before.

    `accepted`: so many unknown objects are garbage, as an operator said.
    """

    location = CharField(primary_key=True)
    looked = BigIntegerField(default=0)
    unknown_objects = BigIntegerField(default=0)
    last_looked = BigIntegerField(null=True)
    last_unknown = BigIntegerField(null=True)
    accepted = BigIntegerField(default=0)

    class Meta:
        table_name = "dredge_sweep"
