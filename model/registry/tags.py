"""Create, move and delete tags."""

from __future__ import annotations

from model.events import record as events
from model.policy import DEFAULT, Policy
from model.registry.arguments import ManifestRef, RepositoryRef, checked_manifest, checked_name, checked_time
from model.registry.ending import end_siblings, end_tags
from model.registry.operation import Operation, in_repository
from model.tag import Tag
from model.tag.lifetime import displace_tags, hold_manifest, insert_tag
from model.tag.rows import find_alive, find_alive_of_manifest


def retarget_tag(
    repository: RepositoryRef,
    name: str,
    manifest: ManifestRef,
    *,
    expires_ms: int | None = None,
    policy: Policy = DEFAULT,
) -> Tag:
    """Point a name to a manifest: end the alive row of the name, and insert a new one.

    Records `tag.created`, or `tag.retargeted` if the name was alive.  Ends the Cosign siblings of a
    manifest that loses its last tag.  Raises `ManifestGone` if the manifest does not exist (any more),
    and `ImmutableTag` if the alive row may not move; then nothing is changed.  A second call inserts
    another row, except for an immutable tag that already points there.
    """
    checked_name(name)
    checked_manifest(manifest)
    checked_time(expires_ms)

    def work(operation: Operation) -> Tag:
        checked_time(expires_ms, after_ms=operation.now_ms)
        alive = find_alive(operation.repository.id, name, now_ms=operation.now_ms, lock=True)
        held = hold_manifest(operation.repository.id, manifest)
        if alive and alive[0].immutable and alive[0].manifest_id == held.id and expires_ms is None:
            return alive[0]
        operation.refuse_immutable(*alive)
        made = move_name(operation, alive, name, held.id, held.digest, end_ms=expires_ms)
        type = events.TAG_RETARGETED if alive else events.TAG_CREATED
        operation.record(type, made, previous_digest=alive[0].digest if alive else None)
        end_siblings(operation, [tag for tag in alive if tag.manifest_id != held.id])
        return made

    return in_repository(repository, policy, work)


# Both cases have one rule: a name that is alive moves.
create_tag = retarget_tag


def move_name(
    operation: Operation,
    alive: tuple[Tag, ...],
    name: str,
    manifest_id: int,
    digest: str,
    *,
    end_ms: int | None = None,
    reversion: bool = False,
) -> Tag:
    """End the alive rows of a name, and insert a new one on a held manifest."""
    displace_tags(alive, end_ms=operation.now_ms)
    return insert_tag(
        operation.repository.id,
        name,
        manifest_id,
        digest,
        start_ms=operation.now_ms,
        end_ms=end_ms,
        reversion=reversion,
    )


def delete_tag(repository: RepositoryRef, name: str, *, policy: Policy = DEFAULT) -> Tag | None:
    """End the alive, visible tag of that name.  It can be restored until its namespace's window closes.

    Also deletes its notifications and pull statistics, ends its Cosign siblings if it was the last tag
    of its manifest, and ends the temporary tags of its child manifests.  Records `tag.deleted`.  Returns
    None, with nothing changed, if there is no such tag.  Raises `ImmutableTag`.  Idempotent.
    """
    checked_name(name)

    def work(operation: Operation) -> Tag | None:
        alive = find_alive(operation.repository.id, name, now_ms=operation.now_ms, lock=True)
        operation.refuse_immutable(*alive)
        ended = end_tags(operation, alive)
        return ended[0] if ended else None

    return in_repository(repository, policy, work)


def delete_tags_for_manifest(
    repository: RepositoryRef, manifest: ManifestRef, *, policy: Policy = DEFAULT
) -> tuple[Tag, ...]:
    """End every alive tag of one manifest, hidden ones too, as `delete_tag` does: all of them or none.

    Raises `ImmutableTag` if one of them is immutable.  Does nothing if the manifest has no alive tag or
    does not exist.  Idempotent.
    """
    checked_manifest(manifest)

    def work(operation: Operation) -> tuple[Tag, ...]:
        alive = find_alive_of_manifest(operation.repository.id, manifest, now_ms=operation.now_ms, lock=True)
        operation.refuse_immutable(*alive)
        return end_tags(operation, alive)

    return in_repository(repository, policy, work)
