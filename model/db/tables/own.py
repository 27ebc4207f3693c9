"""Dredge's own tables (created by `model/migrations`): everything that must survive a crash.

Each is append-only or claimed by row locks; none has a foreign key into the registry's tables.
"""

from __future__ import annotations

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    CompositeKey,
    IntegerField,
    TextField,
)

from model.db.tables.base import BaseModel


class Event(BaseModel):
    """The outbox: an event to publish, written in the transaction that made the change.

    One row may stand for many CloudEvents (`data` holds a list of digests): the publisher expands it.
    """

    id = BigAutoField()
    event_id = CharField(36)
    type = CharField(64)
    repository_id = IntegerField(null=True)
    subject = TextField()
    data = TextField()
    created_ms = BigIntegerField()
    published_ms = BigIntegerField(null=True)

    class Meta:
        table_name = "dredge_event"


class ManifestCandidate(BaseModel):
    """A manifest to judge at its repository's next collection from `due_ms` on."""

    id = BigAutoField()
    repository_id = IntegerField()
    manifest_id = IntegerField()
    created_ms = BigIntegerField()
    due_ms = BigIntegerField(default=0)

    class Meta:
        table_name = "dredge_manifest_candidate"


class BlobCandidate(BaseModel):
    """A blob that lost a reference.  Duplicates are meant: see docs/explanation/safety.md."""

    id = BigAutoField()
    blob_id = IntegerField()
    repository_id = IntegerField(null=True)
    created_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_blob_candidate"


class ReportDebt(BaseModel):
    """A security report to delete at the scanner."""

    id = BigAutoField()
    digest = CharField()
    created_ms = BigIntegerField()
    due_ms = BigIntegerField()
    tries = IntegerField(default=0)
    last_error = TextField(null=True)

    class Meta:
        table_name = "dredge_report_debt"


class Collection(BaseModel):
    """History: what one step of a stage (collect, review, erase) freed."""

    id = BigAutoField()
    stage = CharField(16)
    repository_id = IntegerField(null=True)
    started_ms = BigIntegerField()
    finished_ms = BigIntegerField()
    tags = IntegerField(default=0)
    manifests = IntegerField(default=0)
    blobs = IntegerField(default=0)
    objects = IntegerField(default=0)
    rows = IntegerField(default=0)
    bytes = BigIntegerField(default=0)
    certified = BooleanField(default=False)

    class Meta:
        table_name = "dredge_collection"


class Certificate(BaseModel):
    """What one batch deleted and why: `body` is JSON, `digests` are 32 bytes for each of its dead.

    `sum` is the SHA-256 of both; the body names that of the certificate before it in its chain.
    """

    id = BigAutoField()
    finished_ms = BigIntegerField()
    body = TextField()
    digests = BlobField()
    sum = BlobField()

    class Meta:
        table_name = "dredge_certificate"


class Due(BaseModel):
    """A repository that has garbage from `due_ms` on, and how its collection fares.

    `attempts` since the last one that ended well, counted before the work; nobody tries before `next_try_ms`.
    `queued_ms`: when a message for it was sent that has not been taken.  `leader_id`: the repository whose
    task collects it as well; its own id after a turn that had more garbage, so that only its own task does.
    """

    repository_id = IntegerField(primary_key=True)
    namespace_id = IntegerField(default=0)
    due_ms = BigIntegerField(default=0)
    attempts = IntegerField(default=0)
    next_try_ms = BigIntegerField(default=0)
    queued_ms = BigIntegerField(null=True)
    last_error = TextField(null=True)
    leader_id = IntegerField(null=True)

    class Meta:
        table_name = "dredge_due"


class Hold(BaseModel):
    """Nothing may be removed here; 0 in both columns stands for the whole registry."""

    namespace_id = IntegerField()
    repository_id = IntegerField()
    reason = TextField()
    author = TextField()
    created_ms = BigIntegerField()
    until_ms = BigIntegerField(null=True)

    class Meta:
        table_name = "dredge_hold"
        primary_key = CompositeKey("namespace_id", "repository_id")


class Breaker(BaseModel):
    """A namespace's breaker (0: the registry's): collections need one that is valid and not open."""

    namespace_id = IntegerField(primary_key=True)
    window_ms = BigIntegerField()
    valid_until_ms = BigIntegerField(default=0)
    due_manifests = BigIntegerField(default=0)
    manifests = BigIntegerField(default=0)
    opened_ms = BigIntegerField(null=True)
    reason = TextField(null=True)
    approved_ms = BigIntegerField(default=0)
    approved_by = TextField(null=True)

    class Meta:
        table_name = "dredge_breaker"


class Limit(BaseModel):
    """A rate of the whole fleet: what was used up is paid for at `free_ms`."""

    name = CharField(32, primary_key=True)
    free_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_limit"


class Lease(BaseModel):
    """A duty that one process has at a time, until its lease ends."""

    name = CharField(64, primary_key=True)
    holder = TextField()
    until_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_lease"


class Poison(BaseModel):
    """Something that makes its stage fail, set aside until `due_ms` so that the rest goes on."""

    stage = CharField(16)
    key = TextField()
    created_ms = BigIntegerField()
    due_ms = BigIntegerField()
    tries = IntegerField()
    last_error = TextField()
    data = TextField(null=True)

    class Meta:
        table_name = "dredge_poison"
        primary_key = CompositeKey("stage", "key")
