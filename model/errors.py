"""Every error a caller of the model can meet, each with `retryable`: may the same call succeed later?"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Verdict(Enum):
    """What an error says about the work that met it."""

    NOT_NOW = "not now"
    NEVER = "never for this item"
    BROKEN = "broken installation"


class RegistryError(Exception):
    """Something about the registry went wrong."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, **facts: object) -> None:
        """`message` defaults to the class's docstring; `facts` become attributes and end the message."""
        self.facts = facts
        self.__dict__.update(facts)
        text = message or (type(self).__doc__ or "").strip()
        shown = ", ".join(f"{name}={value}" for name, value in facts.items())
        super().__init__(f"{text} ({shown})" if shown else text)


class DatabaseUnavailable(RegistryError):
    """The database did not answer."""

    retryable = True


class DatabaseReadOnly(DatabaseUnavailable):
    """The database takes no writes: a standby, or a server that is read-only on purpose."""


class StatementTimeout(RegistryError):
    """The statement was canceled, because it took longer than its limit or an operator asked for it."""

    retryable = True


class Contended(RegistryError):
    """Another transaction was in the way (deadlock, lock timeout or serialization failure)."""

    retryable = True


class BadInput(RegistryError):
    """An argument is not what it must be."""


class NoSuchNamespace(RegistryError):
    """There is no such namespace."""


class NoSuchRepository(RegistryError):
    """There is no such repository."""


class NoSuchTag(RegistryError):
    """There is no such tag."""


class NoSuchManifest(RegistryError):
    """There is no such manifest (MANIFEST_UNKNOWN)."""


class NoSuchBlob(RegistryError):
    """There is no such blob in this repository (BLOB_UNKNOWN)."""


class BlobGone(RegistryError):
    """The blob was collected while its bytes were on the way: push it again."""

    retryable = True


class NoSuchUpload(RegistryError):
    """There is no such upload (BLOB_UPLOAD_UNKNOWN)."""


class ManifestGone(RegistryError):
    """The manifest was collected while it was being used: push it again."""


class ImmutableTag(RegistryError):
    """The tag is immutable."""


class NotRestorable(RegistryError):
    """The tag's recovery window has closed, or it never pointed at that manifest."""


class NothingDeleted(NotRestorable):
    """Nothing was deleted under that name, or it is purged."""


class NameTaken(RegistryError):
    """The name belongs to something else."""


class FeatureDisabled(RegistryError):
    """This operation is switched off by configuration."""


class BadManifest(RegistryError):
    """The manifest is not valid (MANIFEST_INVALID)."""


class BadDigest(RegistryError):
    """The bytes do not have the digest they were announced with (DIGEST_INVALID)."""


class DigestBusy(RegistryError):
    """The digest's object is being erased: try again in a moment."""

    retryable = True


class BrokenInstallation(RegistryError):
    """The database refuses what Dredge needs: rights, tables or functions."""


class SchemaMismatch(BrokenInstallation):
    """The database's tables are not those that Dredge needs."""
