"""Tags, manifests and what a manifest refers to."""

from __future__ import annotations

from peewee import BigAutoField, BigIntegerField, BooleanField, CharField, TextField

from model.db.tables.base import BaseModel, default, reference
from model.db.tables.blob import Blob
from model.db.tables.repository import Repository


class MediaType(BaseModel):
    """The name of a content type."""

    name = CharField(unique=True)


class Manifest(BaseModel):
    """An image manifest or an index, in one repository."""

    repository = reference(Repository, "repository_id")
    digest = CharField(index=True)
    media_type = reference(MediaType, "media_type_id")
    manifest_bytes = TextField()
    config_media_type = CharField(null=True)
    layers_compressed_size = BigIntegerField(null=True)
    subject = CharField(null=True)
    subject_backfilled = BooleanField(null=True, index=True)
    artifact_type = CharField(null=True)
    artifact_type_backfilled = BooleanField(null=True, index=True)

    class Meta:
        indexes = (
            (("repository", "digest"), True),
            (("repository", "artifact_type"), False),
            (("repository", "config_media_type"), False),
            (("repository", "media_type"), False),
            (("repository", "subject"), False),
        )


class ManifestChild(BaseModel):
    """An index (`manifest`) lists a manifest (`child_manifest`)."""

    repository = reference(Repository, "repository_id")
    manifest = reference(Manifest, "manifest_id")
    child_manifest = reference(Manifest, "child_manifest_id")

    class Meta:
        indexes = (
            (("manifest", "child_manifest"), True),
            (("repository", "child_manifest"), False),
            (("repository", "manifest"), False),
            (("repository", "manifest", "child_manifest"), False),
        )


class ManifestBlob(BaseModel):
    """A manifest refers to a blob."""

    id = BigAutoField()
    repository = reference(Repository, "repository_id")
    manifest = reference(Manifest, "manifest_id")
    blob = reference(Blob, "blob_id")

    class Meta:
        indexes = ((("manifest", "blob"), True), (("repository", "blob"), False))


class LabelSourceType(BaseModel):
    """Where a label came from."""

    name = CharField(unique=True)
    mutable = BooleanField(default=False)


class Label(BaseModel):
    """A key and a value."""

    uuid = CharField(unique=True)
    key = CharField(index=True)
    value = TextField()
    media_type = reference(MediaType, "media_type_id")
    source_type = reference(LabelSourceType, "source_type_id")


class ManifestLabel(BaseModel):
    """A manifest carries a label."""

    repository = reference(Repository, "repository_id")
    manifest = reference(Manifest, "manifest_id")
    label = reference(Label, "label_id")

    class Meta:
        indexes = ((("manifest", "label"), True),)


class TagKind(BaseModel):
    """There is one: `tag`."""

    name = CharField(unique=True)


class Tag(BaseModel):
    """One lifetime of a name: alive while `lifetime_end_ms` is null or in the future."""

    name = CharField()
    repository = reference(Repository, "repository_id")
    manifest = reference(Manifest, "manifest_id", null=True)
    lifetime_start_ms = BigIntegerField()
    lifetime_end_ms = BigIntegerField(null=True, index=True)
    hidden = BooleanField(default=False, constraints=default("false"))
    reversion = BooleanField(default=False, constraints=default("false"))
    tag_kind = reference(TagKind, "tag_kind_id")
    linked_tag = reference("self", "linked_tag_id", null=True)
    immutable = BooleanField(default=False, constraints=default("false"))

    class Meta:
        indexes = (
            (("repository", "name", "lifetime_end_ms"), True),
            (("manifest", "immutable"), False),
            (("manifest", "lifetime_end_ms"), False),
            (("repository", "immutable"), False),
            (("repository", "lifetime_end_ms"), False),
            (("repository", "lifetime_start_ms"), False),
            (("repository", "name"), False),
            (("repository", "name", "hidden"), False),
            (("repository", "name", "tag_kind"), False),
        )
