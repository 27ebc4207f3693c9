"""The façade: the functions that other services call.  Each change is one transaction.

Give a repository by its id or as `namespace/name`, a manifest by its id or digest.  Errors are those of
`model.errors`; `retryable` says whether the same call may succeed later.
"""

from model.purge.deletion import DeletedNamespace, DeletedRepository
from model.registry.deletions import (
    delete_namespace,
    delete_repository,
    list_deleted_namespaces,
    list_deleted_repositories,
    restore_namespace,
    restore_repository,
)
from model.registry.limits import change_tag_expiration, set_tag_immutable
from model.registry.reads import (
    catalogue,
    find_blob,
    geo_restrictions,
    get_manifest,
    get_repository,
    get_tag,
    list_active_tags,
    list_blobs,
    list_referrers,
    security_status,
)
from model.registry.tags import create_tag, delete_tag, delete_tags_for_manifest, retarget_tag
from model.registry.time_machine import delete_tag_permanently, list_tag_history, restore_tag
from model.tag import Tag
from model.tag.history import History, Lifetime, Position

__all__ = [
    "DeletedNamespace",
    "DeletedRepository",
    "History",
    "Lifetime",
    "Position",
    "Tag",
    "catalogue",
    "change_tag_expiration",
    "create_tag",
    "delete_namespace",
    "delete_repository",
    "delete_tag",
    "delete_tag_permanently",
    "delete_tags_for_manifest",
    "find_blob",
    "geo_restrictions",
    "get_manifest",
    "get_repository",
    "get_tag",
    "list_active_tags",
    "list_blobs",
    "list_deleted_namespaces",
    "list_deleted_repositories",
    "list_referrers",
    "list_tag_history",
    "restore_namespace",
    "restore_repository",
    "restore_tag",
    "retarget_tag",
    "security_status",
    "set_tag_immutable",
]
