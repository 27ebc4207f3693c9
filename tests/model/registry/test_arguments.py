"""What callers may not pass: a clear error, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from model import namespace, registry, repository
from model.errors import BadInput, NoSuchNamespace, NoSuchRepository
from tests.support.world import World

DIGEST = "sha256:" + "0" * 64

CALLS: dict[str, Callable[..., Any]] = {
    "retarget": lambda where, name, digest: registry.retarget_tag(where, name, digest),
    "delete": lambda where, name, digest: registry.delete_tag(where, name),
    "manifest": lambda where, name, digest: registry.delete_tags_for_manifest(where, digest),
    "permanently": lambda where, name, digest: registry.delete_tag_permanently(where, name, digest),
    "restore": lambda where, name, digest: registry.restore_tag(where, name, digest),
    "expiry": lambda where, name, digest: registry.change_tag_expiration(where, name, None),
    "immutable": lambda where, name, digest: registry.set_tag_immutable(where, name),
    "history": lambda where, name, digest: registry.list_tag_history(where, name=name),
    "get": lambda where, name, digest: registry.get_tag(where, name),
    "referrers": lambda where, name, digest: registry.list_referrers(where, digest),
    "blob": lambda where, name, digest: registry.find_blob(where, digest),
    "security": lambda where, name, digest: registry.security_status(where, digest),
}
TAKES_NAME = ("retarget", "delete", "permanently", "restore", "expiry", "immutable", "history", "get")
TAKES_DIGEST = ("retarget", "manifest", "permanently", "restore", "referrers", "blob", "security")
BAD_NAMES: tuple[Any, ...] = (
    "",
    ".x",
    "-x",
    "x" * 129,
    "x" * 300,
    "a b",
    "a/b",
    "v1\n",
    "v1\x00",
    "é",
    "'; DROP TABLE tag; --",
    "$temp-1",
    7,
    True,
    b"v1",
    ["v1"],
)
BAD_DIGESTS: tuple[Any, ...] = (
    "",
    "latest",
    "sha256:",
    "sha256:" + "0" * 63,
    "sha256:" + "G" * 64,
    DIGEST + "\n",
    "md5:" + "0" * 32,
    1.5,
    True,
    [DIGEST],
)
BAD_REPOSITORIES: tuple[Any, ...] = (
    0, -1, 2**31, True, 1.5, None, b"acme/app", "acme", "/app", "acme/", "acme/a b", "a/" + "x" * 300,
    "acme/app'; DROP TABLE tag; --", "acme/\x00",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_bad_arguments_are_errors_and_change_nothing(world: World, call: str) -> None:
    tag = world.tag("v1")
    operation = CALLS[call]
    with world.changes() as changes:
        for name in BAD_NAMES if call in TAKES_NAME else ():
            with pytest.raises(BadInput):
                operation("acme/app", name, tag.manifest.digest)
        for digest in BAD_DIGESTS if call in TAKES_DIGEST else ():
            with pytest.raises(BadInput):
                operation("acme/app", "v1", digest)
        for where in BAD_REPOSITORIES:
            with pytest.raises(BadInput):
                operation(where, "v1", tag.manifest.digest)
        for where in (2**31 - 1, "acme/none", "none/app"):
            with pytest.raises(NoSuchRepository):
                operation(where, "v1", tag.manifest.digest)
    assert not changes


def test_pages_flags_and_times_are_checked_too(world: World) -> None:
    world.tag("v1")
    wrong: list[Callable[[], Any]] = [
        lambda: registry.list_active_tags("acme/app", limit=0),
        lambda: registry.list_active_tags("acme/app", limit=1001),
        lambda: registry.list_active_tags("acme/app", last="a b"),
        lambda: registry.list_tag_history("acme/app", before=5),  # type: ignore[arg-type]
        lambda: registry.list_tag_history("acme/app", before=(5, -1)),
        lambda: registry.list_blobs("acme/app", after_id=-1),
        lambda: registry.catalogue(limit=True),
        lambda: registry.catalogue(7),  # type: ignore[arg-type]
        lambda: registry.geo_restrictions(7),  # type: ignore[arg-type]
        lambda: registry.list_referrers("acme/app", DIGEST, artifact_type=""),
        lambda: registry.get_manifest("acme/app", 7),  # type: ignore[arg-type]
        lambda: registry.set_tag_immutable("acme/app", "v1", "yes"),  # type: ignore[arg-type]
        lambda: registry.change_tag_expiration("acme/app", "v1", "soon"),  # type: ignore[arg-type]
        lambda: registry.change_tag_expiration("acme/app", "v1", 2**60),
        lambda: registry.delete_tag_permanently("acme/app", "v1", DIGEST, is_alive=1),  # type: ignore[arg-type]
        lambda: namespace.change_window("acme", -1),
    ]
    with world.changes() as changes:
        for call in wrong:
            with pytest.raises(BadInput):
                call()
        with pytest.raises(NoSuchNamespace):
            namespace.change_window("none", 1)
        with pytest.raises(NoSuchRepository, match="visibility"):
            repository.ensure(world.namespace_id, "new", visibility="secret")
    assert not changes
