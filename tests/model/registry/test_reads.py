"""Looking up: what each caller of the façade is told."""

from __future__ import annotations

import pytest

from model import registry
from model.errors import NoSuchRepository
from model.namespace import change_window
from tests.support.world import World

HOUR_MS = 3_600_000


def test_a_tag_is_found_while_it_lives_and_is_visible(world: World) -> None:
    tag = world.tag("v1")
    world.tag("soon", ended_ms=world.now_ms + HOUR_MS)
    world.tag("gone", ended_ms=world.now_ms - 1)
    world.tag("$temp-1", hidden=True)
    found = registry.get_tag("acme/app", "v1")
    assert found is not None and found.id == tag and found.digest == tag.manifest.digest
    assert registry.get_tag("acme/app", "soon") is not None
    assert registry.get_tag("acme/app", "gone") is None


def test_active_tags_come_in_pages_by_name_one_row_for_each(world: World) -> None:
    for name in ("c", "a", "b", "d"):
        world.tag(name)
    newest = world.tag("a", start_ms=world.now_ms + 1)
    world.tag("e", ended_ms=world.now_ms - 1)
    world.tag("f", repository=world.repository("other"))
    first = registry.list_active_tags(world.repository_id, limit=3)
    assert [tag.name for tag in first.tags] == ["a", "b", "c"] and first.has_more
    assert first.tags[0].id == newest
    rest = registry.list_active_tags(world.repository_id, last="c", limit=3)
    assert [tag.name for tag in rest.tags] == ["d"] and not rest.has_more


def test_a_manifest_is_found_by_digest_and_by_tag_in_its_repository(world: World) -> None:
    tag = world.tag("v1")
    untagged = world.manifest()
    other = world.repository("other")
    for reference in ("v1", tag.manifest.digest):
        found = registry.get_manifest(world.repository_id, reference)
        assert found is not None and found.manifest_id == tag.manifest
        assert registry.get_manifest(int(other), reference) is None
    assert registry.get_manifest("acme/app", untagged.digest) is not None
    world.execute("UPDATE tag SET lifetime_end_ms = 5 WHERE id = %s", (int(tag),))
    assert registry.get_manifest("acme/app", "v1") is None


def test_referrers_are_filtered_by_artifact_type(world: World) -> None:
    subject = world.manifest()
    signature = world.manifest(subject=subject.digest, artifact_type="application/vnd.example.signature")
    plain = world.manifest(subject=subject.digest)
    broken = world.manifest(subject=subject.digest, content="{", artifact_type="application/broken")
    world.manifest(world.repository("other"), subject=subject.digest)
    found = registry.list_referrers("acme/app", subject.digest)
    assert [d.digest for d in found] == [signature.digest, plain.digest, broken.digest]
    assert found[0].annotations and found[0].as_json()["size"] > 100
    (one,) = registry.list_referrers(
        "acme/app", subject.digest, artifact_type="application/vnd.example.signature"
    )
    assert one.digest == signature.digest
    # Without an artifact type of its own, a manifest has that of its config.
    fallback = found[1].artifact_type or ""
    assert [
        d.digest for d in registry.list_referrers("acme/app", subject.digest, artifact_type=fallback)
    ] == [plain.digest]


def test_referrers_of_a_subject_that_was_never_pushed_are_listed(world: World) -> None:
    missing = "sha256:" + "1" * 64
    early = world.manifest(subject=missing)
    assert [d.digest for d in registry.list_referrers("acme/app", missing)] == [early.digest]


def test_blobs_are_those_that_the_repository_refers_to(world: World) -> None:
    linked, pushed, expired, foreign = (world.blob() for _ in range(4))
    coming = world.blob(placement=None)
    world.manifest(blobs=[linked])
    world.uploaded(pushed)
    world.uploaded(expired, expires_ms=world.now_ms - 60_000)
    world.manifest(world.repository("other"), blobs=[foreign])
    world.uploaded(coming)
    for blob in (linked, pushed):
        found = registry.find_blob("acme/app", blob.digest)
        assert found is not None and found.blob_id == blob and found.locations == ("local_us",)
    for blob in (expired, foreign, coming):
        assert registry.find_blob("acme/app", blob.digest) is None
    page = registry.list_blobs("acme/app", limit=1)
    assert [b.id for b in page.blobs] == [linked] and page.after_id == linked
    page = registry.list_blobs("acme/app", after_id=page.after_id, limit=5)
    assert [b.id for b in page.blobs] == [pushed] and page.after_id is None


def test_the_catalogue_shows_what_its_reader_may_see(world: World) -> None:
    public = world.lookup("visibility", "public")
    mine, theirs = world.namespace("mine"), world.namespace("theirs")
    shown = [world.repository(f"r{n}", namespace=theirs) for n in range(2)]
    world.execute(
        "UPDATE repository SET visibility_id = %s WHERE id = ANY(%s)", (public, list(map(int, shown)))
    )
    own = world.repository("own", namespace=mine)
    lent = world.repository("lent", namespace=theirs)
    world.permission(mine, repository=int(lent))
    world.repository("secret", namespace=theirs)
    world.repository("app", namespace=mine, kind="application")
    world.mark_deleted(world.repository("gone", namespace=mine))

    def ids(username: str | None) -> list[int]:
        return [r.id for r in registry.catalogue(username).repositories]

    assert ids(None) == shown == ids("nobody")
    assert ids("mine") == [*shown, own, lent]
    first = registry.catalogue("mine", limit=3)
    assert first.next_id == lent
    rest = registry.catalogue("mine", start_id=first.next_id or 0, limit=3)
    assert [r.id for r in rest.repositories] == [lent] and rest.next_id is None


def test_the_catalogue_knows_teams_where_quay_keeps_them(world: World) -> None:
    world.execute("CREATE TABLE teammember (id serial PRIMARY KEY, user_id int, team_id int)")
    user = world.namespace("user")
    repository = world.repository("shared")
    role = world.insert("teamrole", name="made-up")
    team = world.insert("team", name="t", organization_id=world.namespace_id, role_id=role, description="")
    world.insert("teammember", user_id=int(user), team_id=team)
    reader = world.lookup("role", "read")
    world.insert("repositorypermission", team_id=team, repository_id=int(repository), role_id=reader)
    assert [r.id for r in registry.catalogue("user").repositories] == [repository]


@pytest.mark.parametrize(
    ("status", "state"), [(-4, "failed"), (0, "queued"), (1, "scanning"), (2, "scanned"), (7, "scanned")]
)
def test_the_security_status_says_how_far_the_scanner_got(world: World, status: int, state: str) -> None:
    image = world.manifest()
    assert registry.security_status("acme/app", image.digest) is None
    world.security(image, status=status)
    found = registry.security_status("acme/app", image.digest)
    assert found is not None and found.state == state and found.errors == []


def test_geo_restrictions_are_listed_and_none_where_the_table_is_gone(world: World) -> None:
    for code in ("KP", "AQ"):
        world.insert(
            "namespacegeorestriction",
            namespace_id=world.namespace_id,
            added="2026-01-01",
            description="",
            unstructured_json="{}",
            restricted_region_iso_code=code,
        )
    assert registry.geo_restrictions("acme") == ("AQ", "KP") and registry.geo_restrictions("none") == ()
    world.execute("DROP TABLE namespacegeorestriction")
    assert registry.geo_restrictions("acme") == ()


def test_a_repository_is_found_by_id_and_by_name_until_it_is_marked_for_deletion(world: World) -> None:
    found = registry.get_repository("acme/app") if world.repository_id else None
    assert found is not None and found == registry.get_repository(world.repository_id)
    assert (found.namespace, found.name, found.path) == ("acme", "app", "acme/app")
    assert change_window("acme", 60).window_ms == 60_000
    assert registry.get_repository("acme/app").window_ms == 60_000
    world.mark_deleted(world.default_repository)
    for reference in ("acme/app", world.repository_id):
        with pytest.raises(NoSuchRepository):
            registry.get_repository(reference)
