"""The API that deletes repositories and namespaces, and restores them before their purge begins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from model import registry
from model.db.connection import connection
from model.names import parse_namespace, parse_repository
from model.registry import DeletedNamespace, DeletedRepository
from worker.jobs import deletions
from worker.web.context import Context, Deleter, Operator, Reader

router = APIRouter(tags=["deletions"])

Limit = Annotated[int, Query(ge=1, le=1000, description="Maximum rows.")]


class RestoreRepository(BaseModel):
    """The deleted repository to restore."""

    repository: str = Field(max_length=512, description="`namespace/name`, as it was called.")
    new_name: str | None = Field(None, max_length=255, description="Another name in its namespace.")


class RestoreNamespace(BaseModel):
    """The deleted namespace to restore."""

    namespace: str = Field(max_length=255)
    new_name: str | None = Field(None, max_length=255)


@router.delete(
    "/api/v1/repository/{repository:path}",
    status_code=204,
    response_class=Response,
    operation_id="deleteRepository",
)
@connection()
def delete_repository(context: Context, caller: Deleter, repository: str) -> None:
    """Mark a repository (`namespace/name`) for deletion; it can be restored until its purge begins."""
    deletions.delete_repository(context, str(parse_repository(repository)))


@router.delete(
    "/api/v1/organization/{namespace}",
    status_code=204,
    response_class=Response,
    operation_id="deleteNamespace",
)
@connection()
def delete_namespace(context: Context, caller: Deleter, namespace: str) -> None:
    """Mark a namespace for deletion, with everything in it; it can be restored until its purge begins."""
    deletions.delete_namespace(context, parse_namespace(namespace))


@router.get("/api/v1/deleted/repositories", operation_id="listDeletedRepositories")
@connection()
def deleted_repositories(
    caller: Reader, namespace: str | None = None, limit: Limit = 100
) -> list[DeletedRepository]:
    """Return deleted repositories (of a namespace), latest first."""
    wanted = None if namespace is None else parse_namespace(namespace)
    return registry.list_deleted_repositories(wanted, limit=limit)


@router.get("/api/v1/deleted/namespaces", operation_id="listDeletedNamespaces")
@connection()
def deleted_namespaces(caller: Reader, limit: Limit = 100) -> list[DeletedNamespace]:
    """Return deleted namespaces, latest first."""
    return registry.list_deleted_namespaces(limit=limit)


@router.post("/api/v1/deleted/repositories/restore", operation_id="restoreRepository")
@connection()
def restore_repository(context: Context, caller: Operator, wanted: RestoreRepository) -> DeletedRepository:
    """Restore the latest repository that was deleted under this name, without its stars."""
    return deletions.restore_repository(context, wanted.repository, name=wanted.new_name)


@router.post("/api/v1/deleted/namespaces/restore", operation_id="restoreNamespace")
@connection()
def restore_namespace(context: Context, caller: Operator, wanted: RestoreNamespace) -> DeletedNamespace:
    """Restore the latest namespace that was deleted under this name."""
    return deletions.restore_namespace(context, wanted.namespace, new_name=wanted.new_name)
