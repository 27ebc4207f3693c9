"""The endpoints of Quay that delete and restore tags: the same paths, bodies and status codes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field

from model import registry
from model.db.connection import connection
from model.errors import NoSuchRepository, NotRestorable
from model.names import parse_digest, parse_repository
from worker.jobs import tags
from worker.web.context import Context, Deleter, Operator, Reader
from worker.web.quay_tags import QuayTagPage, read_page

router = APIRouter(tags=["tags"])

_TAG = "/api/v1/repository/{repository:path}/tag/{tag}"


class ExpireTag(BaseModel):
    """The lifetimes of the tag to make unrestorable."""

    manifest_digest: str = Field(max_length=255, description="Where the tag points or pointed.")
    include_submanifests: bool = Field(
        False, description="Also what only temporary tags of its child manifests hold."
    )
    is_alive: bool = Field(False, description="The living tag, instead of its deleted lifetimes.")


class RestoreTag(BaseModel):
    """The manifest to which the tag shall point."""

    manifest_digest: str = Field(max_length=255)


@router.get("/api/v1/repository/{repository:path}/tag/", operation_id="listRepoTags")
@connection()
def list_tags(
    caller: Reader,
    repository: str,
    specificTag: Annotated[str | None, Query(max_length=255)] = None,  # noqa: N803 - Quay's name
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    onlyActiveTags: bool = False,  # noqa: N803 - Quay's name
) -> QuayTagPage:
    """Return the manifests of the repository's tags, now and before, as far back as they can be restored."""
    where = str(parse_repository(repository))
    return read_page(where, name=specificTag or None, page=page, limit=limit, only_alive=onlyActiveTags)


@router.delete(_TAG, status_code=204, response_class=Response, operation_id="deleteFullTag")
@connection()
def delete_tag(context: Context, caller: Deleter, repository: str, tag: str) -> None:
    """Delete a tag; it can be restored until its recovery window closes."""
    if tags.delete_tag(context, *parse_repository(repository), tag) is None:
        raise HTTPException(404, f"There is no such tag: {repository}:{tag}")


@router.post(f"{_TAG}/expire", response_model=None, operation_id="removeTagFromTimemachine")
@connection()
def expire_tag(
    context: Context, caller: Deleter, repository: str, tag: str, wanted: ExpireTag
) -> dict[str, Any]:
    """Make a deleted tag unrestorable; with `is_alive`, delete a live tag permanently."""
    gone = tags.delete_tag_permanently(
        context,
        *parse_repository(repository),
        tag,
        parse_digest(wanted.manifest_digest),
        is_alive=wanted.is_alive,
        include_submanifests=wanted.include_submanifests,
    )
    if not gone:
        raise HTTPException(404, f"{repository}:{tag} never pointed at {wanted.manifest_digest}")
    return {}


@router.post(f"{_TAG}/restore", response_model=None, operation_id="restoreTag")
@connection()
def restore_tag(
    context: Context, caller: Operator, repository: str, tag: str, wanted: RestoreTag
) -> dict[str, Any]:
    """Point a tag at a manifest again to which it pointed within the recovery window."""
    digest = parse_digest(wanted.manifest_digest)
    try:
        tags.restore_tag(context, *parse_repository(repository), tag, digest)
    except NotRestorable as error:
        raise HTTPException(404, str(error)) from error
    return {}


@router.delete(
    "/v1/repositories/{repository:path}/tags/{tag}", response_model=None, operation_id="deleteTagVersion1"
)
@connection()
def delete_tag_version_1(context: Context, caller: Deleter, repository: str, tag: str) -> Response:
    """Delete a tag as Docker's first registry API does; answers 403 for a repository that does not exist."""
    name = parse_repository(repository)
    try:
        registry.get_repository(str(name))
    except NoSuchRepository as error:
        raise HTTPException(403, str(error)) from error
    if tags.delete_tag(context, *name, tag) is None:
        raise HTTPException(404, f"There is no such tag: {repository}:{tag}")
    return Response("Deleted", media_type="text/html; charset=utf-8")
