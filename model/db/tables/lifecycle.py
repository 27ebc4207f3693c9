"""Dredge's own tables of deletions, purges, retention and what runs."""

from __future__ import annotations

from peewee import BigAutoField, BigIntegerField, CharField, CompositeKey, IntegerField, TextField

from model.db.tables.base import BaseModel


class Purge(BaseModel):
    """A deleted repository or namespace: its state before, and since when and how far it is purged."""

    kind = CharField(16)
    subject_id = IntegerField()
    state_before = IntegerField(default=0)
    started_ms = BigIntegerField(null=True)
    tags = IntegerField(default=0)
    manifests = IntegerField(default=0)
    failures = IntegerField(default=0)
    retry_ms = BigIntegerField(default=0)
    last_error = TextField(null=True)

    class Meta:
        table_name = "dredge_purge"
        primary_key = CompositeKey("kind", "subject_id")


class Retention(BaseModel):
    """When the retention rules last ran on a repository, and which of them could not."""

    repository_id = IntegerField(primary_key=True)
    last_ran_ms = BigIntegerField()
    problems = TextField(null=True)

    class Meta:
        table_name = "dredge_retention"


class RetentionRule(BaseModel):
    """A retention rule of Dredge's own, as YAML, and who wrote it when."""

    name = CharField(primary_key=True)
    rule = TextField()
    author = TextField()
    changed_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_retention_rule"


class EndedTag(BaseModel):
    """The audit of retention: a tag that a rule ended, and until when it can be restored."""

    id = BigAutoField()
    repository_id = IntegerField()
    tag = CharField()
    digest = CharField()
    rule = TextField()
    author = TextField()
    ended_ms = BigIntegerField()
    restorable_until_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_ended_tag"


class ExpiryWarning(BaseModel):
    """Somebody was warned of this end of a tag; 0 stands for the end that a rule will bring."""

    tag_id = IntegerField()
    end_ms = BigIntegerField()

    class Meta:
        table_name = "dredge_expiry_warning"
        primary_key = CompositeKey("tag_id", "end_ms")


class InUse(BaseModel):
    """A digest that runs somewhere: it is neither expired nor collected."""

    digest = CharField(primary_key=True)

    class Meta:
        table_name = "dredge_in_use"
