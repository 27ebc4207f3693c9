"""What is known about manifests and tags beside their content."""

from __future__ import annotations

from enum import IntEnum

from peewee import BigIntegerField, CharField, DateTimeField, IntegerField, TextField

from model.db.tables.base import BaseModel, reference
from model.db.tables.content import Manifest, Tag
from model.db.tables.repository import ExternalNotificationMethod, Repository, RepositoryNotification


class IndexStatus(IntEnum):
    """Values of `manifestsecuritystatus.index_status`; failures are negative."""

    PENDING = 0
    IN_PROGRESS = 1
    COMPLETED = 2


class ManifestSecurityStatus(BaseModel):
    """How far the security scanner got with a manifest."""

    manifest = reference(Manifest, "manifest_id", unique=True)
    repository = reference(Repository, "repository_id")
    index_status = IntegerField(index=True)
    error_json = TextField()
    last_indexed = DateTimeField(index=True)
    indexer_hash = CharField(128, index=True)
    indexer_version = IntegerField(index=True)
    metadata_json = TextField()


class TagPullStatistics(BaseModel):
    """Pulls by tag name."""

    repository = reference(Repository, "repository_id", index=False)
    tag_name = CharField()
    tag_pull_count = BigIntegerField(default=0)
    last_tag_pull_date = DateTimeField()
    current_manifest_digest = CharField(null=True)

    class Meta:
        indexes = ((("repository", "tag_name"), True),)


class ManifestPullStatistics(BaseModel):
    """Pulls by manifest digest."""

    repository = reference(Repository, "repository_id", index=False)
    manifest_digest = CharField()
    manifest_pull_count = BigIntegerField(default=0)
    last_manifest_pull_date = DateTimeField()

    class Meta:
        indexes = ((("repository", "manifest_digest"), True),)


class TagNotificationSuccess(BaseModel):
    """A notification about a tag was sent."""

    notification = reference(RepositoryNotification, "notification_id")
    tag = reference(Tag, "tag_id")
    method = reference(ExternalNotificationMethod, "method_id")
