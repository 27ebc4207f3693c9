"""Namespaces (users and organisations) and what hangs on them."""

from __future__ import annotations

from peewee import BigIntegerField, BooleanField, CharField, DateTimeField, IntegerField, TextField

from model.db.tables.base import BaseModel, default, reference


class Namespace(BaseModel):
    """A user, an organisation or a robot; `removed_tag_expiration_s` is its recovery window in seconds."""

    uuid = CharField(36, null=True, index=True)
    username = CharField(unique=True)
    password_hash = CharField(null=True)
    email = CharField(unique=True)
    verified = BooleanField(default=False)
    stripe_id = CharField(null=True, index=True)
    organization = BooleanField(default=False, index=True)
    robot = BooleanField(default=False, index=True)
    invoice_email = BooleanField(default=False)
    invalid_login_attempts = IntegerField(default=0, constraints=default("0"))
    last_invalid_login = DateTimeField()
    removed_tag_expiration_s = BigIntegerField(default=1209600, constraints=default("1209600"))
    enabled = BooleanField(default=True, constraints=default("true"))
    invoice_email_address = CharField(null=True, index=True)
    company = CharField(null=True)
    family_name = CharField(null=True)
    given_name = CharField(null=True)
    location = CharField(null=True)
    maximum_queued_builds_count = IntegerField(null=True)
    creation_date = DateTimeField(null=True)
    last_accessed = DateTimeField(null=True, index=True)

    class Meta:
        table_name = "user"


class DeletedNamespace(BaseModel):
    """A namespace marked for deletion."""

    namespace = reference(Namespace, "namespace_id", unique=True)
    marked = DateTimeField()
    original_username = CharField(index=True)
    original_email = CharField(index=True)
    queue_id = CharField(null=True, index=True)


class TeamRole(BaseModel):
    """What a team may do in its organisation."""

    name = CharField(index=True)


class Team(BaseModel):
    """Members of an organisation with one role."""

    name = CharField()
    organization = reference(Namespace, "organization_id")
    role = reference(TeamRole, "role_id")
    description = TextField(default="")

    class Meta:
        indexes = ((("name", "organization"), True),)


class ProxyCacheConfig(BaseModel):
    """An organisation that mirrors an upstream registry on demand."""

    organization = reference(Namespace, "organization_id")
    creation_date = DateTimeField()
    upstream_registry = CharField(2048)
    upstream_registry_username = CharField(4096, null=True)
    upstream_registry_password = CharField(4096, null=True)
    expiration_s = IntegerField(null=True, default=86400, constraints=default("86400"))
    insecure = BooleanField(default=False, constraints=default("false"))


class NamespaceGeoRestriction(BaseModel):
    """A country from which a namespace may not be pulled (dropped by newer Quay versions)."""

    namespace = reference(Namespace, "namespace_id")
    added = DateTimeField()
    description = CharField()
    unstructured_json = TextField()
    restricted_region_iso_code = CharField(index=True)

    class Meta:
        indexes = ((("namespace", "restricted_region_iso_code"), True),)


class NamespaceAutoprunePolicy(BaseModel):
    """A rule that ends tags of a whole namespace."""

    uuid = CharField(36, unique=True)
    namespace = reference(Namespace, "namespace_id")
    policy = TextField()


class QuotaNamespaceSize(BaseModel):
    """Bytes of the distinct blobs of a namespace."""

    namespace = reference(Namespace, "namespace_user_id", unique=True)
    size_bytes = BigIntegerField(default=0, index=True, constraints=default("'0'"))
    backfill_start_ms = BigIntegerField(null=True, index=True)
    backfill_complete = BooleanField(default=False, constraints=default("false"))
