"""A window is set to zero on most of the registry: real workers stop before the first row."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from model.controls.breaker import list_open
from tests.support.patience import eventually
from tests.support.world import WEEK_S, Row, World
from tests.worker.broker.running import ROOT, celery, worker
from tests.worker.broker.test_commands import DREDGE

LIVING, RECOVERABLE, ELSEWHERE = 900, 450, 150
LEFT = "SELECT count(*) FROM tag WHERE repository_id = %s"
MANIFESTS = "SELECT count(*) FROM manifest WHERE repository_id = %s"

# Copies of a manifest, each with a tag.
COPIES = """
WITH made AS (
    INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes, config_media_type,
                          subject_backfilled, artifact_type_backfilled)
    SELECT repository_id, 'sha256:' || encode(sha256((%(name)s || n)::bytea), 'hex'), media_type_id,
           manifest_bytes, config_media_type, true, true
    FROM manifest, generate_series(1, %(count)s) n WHERE id = %(manifest)s RETURNING id, repository_id
)
INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden, reversion,
                 tag_kind_id, immutable)
SELECT %(name)s || id, repository_id, id, 1, %(ended_ms)s, false, false,
       (SELECT id FROM tagkind WHERE name = 'tag'), false FROM made
"""


def copies(world: World, repository: Row, name: str, count: int, *, ended_ms: int | None = None) -> None:
    manifest = int(world.tag(f"{name}0", repository=repository).manifest)
    parameters = {"name": name, "count": count - 1, "manifest": manifest, "ended_ms": ended_ms}
    world.execute(COPIES, parameters)
    if ended_ms is not None:
        world.execute("UPDATE tag SET lifetime_end_ms = %s WHERE manifest_id = %s", (ended_ms, manifest))


def dredge(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an operator does."""
    everything = {**os.environ, **environment}
    return subprocess.run([*DREDGE, *arguments], cwd=ROOT, env=everything, capture_output=True, text=True)


@pytest.mark.slow
def test_a_window_of_two_weeks_set_to_zero_on_most_of_the_registry_removes_nothing_until_it_is_approved(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    often = {**environment, "DREDGE_SCAN_INTERVAL_S": "0.5"}
    app, other = world.default_repository, world.repository("other", namespace=world.namespace("globex"))
    over_ms = world.now_ms - 3 * WEEK_S * 1000
    copies(world, app, "living", LIVING)
    copies(world, app, "recoverable", RECOVERABLE, ended_ms=world.now_ms - 60_000)
    copies(world, other, "elsewhere", ELSEWHERE)
    world.tag("over", repository=app, ended_ms=over_ms)
    with celery(often, tmp_path, "beat") as beat, worker(often, tmp_path, concurrency=2) as running:
        eventually(lambda: world.value(LEFT, (app,)) == LIVING + RECOVERABLE, running, beat)
        world.execute('UPDATE "user" SET removed_tag_expiration_s = 0 WHERE id = %s', (app.namespace,))
        eventually(lambda: [each.namespace for each in list_open()] == ["acme"], running, beat)
        world.tag("over", repository=other, ended_ms=over_ms)
        eventually(lambda: world.value(LEFT, (other,)) == ELSEWHERE, running, beat)
        assert world.value(LEFT, (app,)) == world.value(MANIFESTS, (app,)) == LIVING + RECOVERABLE
        assert "recovery window was shortened" in dredge(often, "status").stdout
        approved = dredge(often, "approve", "acme")
        assert approved.stdout == "approved: removals of acme go on\n", approved.stderr
        eventually(lambda: world.value(LEFT, (app,)) == LIVING, running, beat)
        eventually(lambda: world.value(MANIFESTS, (app,)) == LIVING, running, beat)
    assert world.value(MANIFESTS, (other,)) == ELSEWHERE and list_open() == []
