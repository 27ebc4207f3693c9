"""Purges to their end, batch by batch."""

from __future__ import annotations

from model.policy import Policy
from model.purge.namespace import NamespacePurge, purge_namespace_batch
from model.purge.references import read_steps
from model.purge.repository import PurgeBatch, purge_repository_batch
from tests.model.purge.conftest import NOW
from tests.support.world import World


def purge(repository_id: int, *, limit: int = 1000, policy: Policy = NOW) -> list[PurgeBatch]:
    """Every batch until one has no more to do."""
    steps = read_steps("repository")
    batches = []
    while True:
        batches.append(purge_repository_batch(repository_id, steps=steps, policy=policy, limit=limit))
        if not batches[-1].has_more:
            return batches


def purge_namespace(namespace_id: int, *, limit: int = 1000, policy: Policy = NOW) -> list[NamespacePurge]:
    """Every batch until one has no more to do."""
    steps = read_steps("user")
    batches = []
    while True:
        batches.append(purge_namespace_batch(namespace_id, steps=steps, policy=policy, limit=limit))
        if not batches[-1].has_more:
            return batches


def exact_quota(world: World) -> bool:
    """Do the quota rows say what a recount says?"""
    recount = world.rows("""
        SELECT q.size_bytes, (SELECT coalesce(sum(b.image_size), 0) FROM imagestorage b WHERE b.id IN (
            SELECT m.blob_id FROM manifestblob m JOIN repository r ON r.id = m.repository_id
            WHERE r.namespace_user_id = q.namespace_user_id)) FROM quotanamespacesize q
        UNION ALL
        SELECT q.size_bytes, (SELECT coalesce(sum(b.image_size), 0) FROM imagestorage b WHERE b.id IN (
            SELECT m.blob_id FROM manifestblob m WHERE m.repository_id = q.repository_id))
        FROM quotarepositorysize q
    """)
    return all(stored == counted for stored, counted in recount)
