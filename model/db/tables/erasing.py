"""Dredge's own tables about objects: what is to be erased, what is set aside, who each store is."""

from __future__ import annotations

from peewee import (
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    CompositeKey,
    IntegerField,
    TextField,
)

from model.db.tables.base import BaseModel


class Tombstone(BaseModel):
    """An object to erase.

    `token` names the claim that has not settled; it is negative where its request failed as a whole.
    `fenced_until_ms`: a request of that claim may still land until then.
    `set_aside`: a request that moves the object into the trash was made ready, so it may be there.
    """

    id = BigAutoField()
    digest = CharField(null=True)
    path = TextField()
    location = CharField()
    size = BigIntegerField()
    created_ms = BigIntegerField()
    due_ms = BigIntegerField()
    tries = IntegerField(default=0)
    fenced_until_ms = BigIntegerField(null=True)
    last_error = TextField(null=True)
    token = BigIntegerField(null=True)
    set_aside = BooleanField(default=False)

    class Meta:
        table_name = "dredge_tombstone"


class Quarantined(BaseModel):
    """An object in the trash: its tombstone's id, where it was, and when it is looked at and purged.

    `unanswered`: some request that moves it was never answered, and may be carried out late.
    `put_back_ms`: it was put back then, and is in its place, unless such a request has moved it again.
    """

    id = BigIntegerField(primary_key=True)
    digest = CharField(null=True)
    path = TextField()
    location = CharField()
    trash = TextField()
    version = TextField(default="")
    size = BigIntegerField()
    set_aside_ms = BigIntegerField()
    look_ms = BigIntegerField()
    purge_ms = BigIntegerField()
    unanswered = BooleanField(default=True)
    put_back_ms = BigIntegerField(null=True)
    token = BigIntegerField(null=True)
    tries = IntegerField(default=0)
    last_error = TextField(null=True)

    class Meta:
        table_name = "dredge_quarantine"


class Storage(BaseModel):
    """A storage location and who it is.  With a `problem` it is suspended: nothing is erased there."""

    location = CharField(primary_key=True)
    address = TextField()
    identity = CharField(64, null=True)
    problem = TextField(null=True)
    problem_since_ms = BigIntegerField(null=True)

    class Meta:
        table_name = "dredge_storage"


class RunningPush(BaseModel):
    """Where a push is about to write a blob's object; its placement replaces this row."""

    blob_id = IntegerField()
    location = CharField()
    created_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_push"
        primary_key = CompositeKey("blob_id", "location")
