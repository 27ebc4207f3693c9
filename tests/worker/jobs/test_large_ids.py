"""Ids above 2^31 in every table whose ids are 64 bits wide: ours, and those of a Quay."""

from __future__ import annotations

from tests.support.eraser import EraserFixture
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION, make_context
from worker.jobs.collect import collect_repository
from worker.jobs.erase import erase
from worker.jobs.review import review
from worker.settings import Settings

BIG = 2**31
_SERIALS = """
SELECT table_name, pg_get_serial_sequence(quote_ident(table_name), column_name)
FROM information_schema.columns
WHERE table_schema = 'public' AND data_type = 'bigint'
  AND pg_get_serial_sequence(quote_ident(table_name), column_name) IS NOT NULL
"""


def test_garbage_is_collected_and_erased_with_ids_that_need_64_bits(eraser: EraserFixture) -> None:
    world = eraser.world
    kept = world.value("SELECT id FROM imagestorage")
    wide = dict(world.rows(_SERIALS))
    assert {"dredge_tombstone", "dredge_blob_candidate", "dredge_event", "uploadedblob"} <= set(wide)
    for sequence in wide.values():
        world.rows("SELECT setval(%s, %s)", (sequence, BIG))
    dead = world.blob(digest=eraser.object("dead"))
    world.tag("dead", manifest=world.manifest(blobs=[kept, dead]), ended_ms=1)
    context = make_context({LOCATION: eraser.store}, settings=Settings(quarantine_s=0))
    collect_repository(context, world.repository_id, budget_s=PATIENCE_S)
    assert world.value("SELECT min(id) FROM dredge_blob_candidate") > BIG
    assert review(context, budget_s=PATIENCE_S).blobs == 1
    assert world.value("SELECT min(id) FROM dredge_tombstone") > BIG
    assert erase(context, budget_s=PATIENCE_S).objects == 1
    assert not eraser.left() and not eraser.paths()
    assert world.rows("SELECT id FROM imagestorage") == [(kept,)]
