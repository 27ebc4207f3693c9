"""Blobs, where they lie, and uploads."""

from __future__ import annotations

from peewee import (
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    DateTimeField,
    IntegerField,
    TextField,
)

from model.db.tables.base import BaseModel, default, reference
from model.db.tables.repository import Repository


class Location(BaseModel):
    """A storage location."""

    name = CharField(unique=True)

    class Meta:
        table_name = "imagestoragelocation"


class Blob(BaseModel):
    """One object in storage.  `content_checksum` is the digest and is *not* unique."""

    uuid = CharField(unique=True)
    size = BigIntegerField(null=True, column_name="image_size")
    uncompressed_size = BigIntegerField(null=True)
    uploading = BooleanField(null=True, default=True)
    cas_path = BooleanField(default=True, constraints=default("false"))
    digest = CharField(null=True, index=True, column_name="content_checksum")

    class Meta:
        table_name = "imagestorage"


class BlobPlacement(BaseModel):
    """A blob's object exists at a location."""

    blob = reference(Blob, "storage_id")
    location = reference(Location, "location_id")

    class Meta:
        table_name = "imagestorageplacement"
        indexes = ((("blob", "location"), True),)


class BlobSignatureKind(BaseModel):
    """How a blob was signed."""

    name = CharField(unique=True)

    class Meta:
        table_name = "imagestoragesignaturekind"


class BlobSignature(BaseModel):
    """A legacy signature of a blob."""

    blob = reference(Blob, "storage_id")
    kind = reference(BlobSignatureKind, "kind_id")
    signature = TextField(null=True)
    uploading = BooleanField(null=True)

    class Meta:
        table_name = "imagestoragesignature"
        indexes = ((("kind", "blob"), True),)


class UploadedBlob(BaseModel):
    """A push's hold on a blob until its manifest arrives; protects it until `expires_at`."""

    id = BigAutoField()
    repository = reference(Repository, "repository_id")
    blob = reference(Blob, "blob_id")
    uploaded_at = DateTimeField()
    expires_at = DateTimeField(index=True)


class BlobUpload(BaseModel):
    """An upload in progress."""

    repository = reference(Repository, "repository_id")
    uuid = CharField(unique=True)
    byte_count = BigIntegerField(default=0)
    sha_state = TextField(null=True)
    location = reference(Location, "location_id")
    storage_metadata = TextField(null=True)
    chunk_count = IntegerField(default=0, constraints=default("0"))
    uncompressed_byte_count = BigIntegerField(null=True)
    created = DateTimeField(index=True)
    piece_sha_state = TextField(null=True)
    piece_hashes = TextField(null=True)

    class Meta:
        indexes = ((("repository", "uuid"), True),)
