"""Repositories and what hangs on them."""

from __future__ import annotations

from enum import IntEnum

from peewee import BigIntegerField, BooleanField, CharField, DateTimeField, IntegerField, TextField

from model.db.tables.account import Namespace, Team
from model.db.tables.base import BaseModel, default, reference


class RepositoryState(IntEnum):
    """Values of `repository.state`."""

    NORMAL = 0
    READ_ONLY = 1
    MIRROR = 2
    MARKED_FOR_DELETION = 3
    ORG_MIRROR = 4


class RepositoryKind(BaseModel):
    """Image or application."""

    name = CharField(unique=True)


class Visibility(BaseModel):
    """Public or private."""

    name = CharField(unique=True)


class Role(BaseModel):
    """What somebody may do in a repository."""

    name = CharField(unique=True)


class Repository(BaseModel):
    """The scope of tags and manifests; blobs are shared across repositories."""

    namespace = reference(Namespace, "namespace_user_id", null=True)
    name = CharField(index=True)
    visibility = reference(Visibility, "visibility_id")
    description = TextField(null=True)
    badge_token = CharField()
    kind = reference(RepositoryKind, "kind_id", default=1, constraints=default("1"))
    trust_enabled = BooleanField(default=False, constraints=default("false"))
    state = IntegerField(default=0, index=True, constraints=default("0"))

    class Meta:
        indexes = ((("namespace", "name"), True),)


class RepositoryPermission(BaseModel):
    """A user's or a team's role in a repository."""

    team = reference(Team, "team_id", null=True)
    user = reference(Namespace, "user_id", null=True)
    repository = reference(Repository, "repository_id")
    role = reference(Role, "role_id")

    class Meta:
        indexes = ((("team", "repository"), True), (("user", "repository"), True))


class DeletedRepository(BaseModel):
    """A repository marked for deletion."""

    repository = reference(Repository, "repository_id", unique=True)
    marked = DateTimeField()
    original_name = CharField(index=True)
    queue_id = CharField(null=True, index=True)


class RepositoryAutoprunePolicy(BaseModel):
    """A rule that ends tags of one repository."""

    uuid = CharField(36, unique=True)
    repository = reference(Repository, "repository_id")
    namespace = reference(Namespace, "namespace_id")
    policy = TextField()


class QuotaRepositorySize(BaseModel):
    """Bytes of the distinct blobs of a repository."""

    repository = reference(Repository, "repository_id", unique=True)
    size_bytes = BigIntegerField(default=0, index=True, constraints=default("'0'"))
    backfill_start_ms = BigIntegerField(null=True)
    backfill_complete = BooleanField(default=False, constraints=default("false"))


class QuotaRegistrySize(BaseModel):
    """Bytes of the whole registry, as last counted by Quay's own worker."""

    size_bytes = BigIntegerField(default=0, constraints=default("'0'"))
    running = BooleanField(default=False, constraints=default("false"))
    queued = BooleanField(default=False, constraints=default("false"))
    completed_ms = BigIntegerField(null=True)


class ExternalNotificationEvent(BaseModel):
    """What a notification is about."""

    name = CharField(unique=True)


class ExternalNotificationMethod(BaseModel):
    """How a notification is sent."""

    name = CharField(unique=True)


class RepositoryNotification(BaseModel):
    """A subscription to a repository's events."""

    uuid = CharField(index=True)
    repository = reference(Repository, "repository_id")
    event = reference(ExternalNotificationEvent, "event_id")
    method = reference(ExternalNotificationMethod, "method_id")
    title = CharField(null=True)
    config_json = TextField()
    event_config_json = TextField()
    number_of_failures = IntegerField(default=0, constraints=default("0"))
    last_ran_ms = BigIntegerField(null=True, index=True)
