"""What scripts and deployments of earlier versions rely on keeps working."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage
from worker import former_names
from worker.broker.routes import QUEUE_OF
from worker.cli import COMMANDS
from worker.settings import Settings

COMMANDS_BEFORE = """
init embedded up check scan plan collect enqueue status explain tag events history import export sample sweep
fsck demo
"""
TASKS_BEFORE = """
find_repositories_with_garbage garbage_collect_repo review_blobs erase_objects deliver_reports prune
sweep_untraced delete_tag delete_tag_permanently restore_tag
"""
SETTINGS_BEFORE = """
batch_manifests broker_url cache_max_bytes cache_prefix cache_replica_url cache_sizes cache_timeout_s
cache_ttls cache_url clair_psk clair_url database_url erase_batch erase_grace_s erase_rate
event_retention_s history_days immutable_tags immutable_tags_can_expire key_prefix log_format log_level
metrics_port permanently_delete_tags prepared_statements push_ttl_s quay_redis_url quota referrer_grace_s
referrers reset_child_manifest_expiration review_batch scan_interval_s scan_limit scan_slice storage
sweep_delay_s sweep_interval_s task_budget_s transaction_target_ms upload_location upload_ttl_s
"""


def test_commands_tasks_and_settings_of_earlier_versions_are_still_there() -> None:
    assert set(COMMANDS_BEFORE.split()) <= set(COMMANDS)
    assert {f"worker.tasks.{name}" for name in TASKS_BEFORE.split()} <= set(QUEUE_OF)
    ignored = {name.removeprefix("DREDGE_").lower() for name in former_names.SETTINGS}
    assert set(SETTINGS_BEFORE.split()) <= {each.name for each in fields(Settings)} | ignored


def test_a_deployment_with_a_setting_that_did_nothing_still_starts(dredge: Dredge) -> None:
    assert dredge("status", "--json", QUOTA="true").code == 0


def test_a_finding_of_fsck_is_also_listed_under_its_former_name(world: World, dredge: Dredge) -> None:
    world.tag("bystander")
    world.insert("label", uuid="u", key="k", value="v", media_type_id=1, source_type_id=1)
    with world.only_removes():
        (report,) = dredge("fsck", "--no-objects", "--json").lines
    checks = {check["name"]: check for check in report["checks"]}
    assert set(former_names.FINDINGS) - {"object-orphaned"} <= set(checks)
    assert checks["label-without-a-trace"] == checks["label-orphaned"] | {
        "name": "label-without-a-trace",
        "alias_of": "label-orphaned",
    }
    assert sum(check["count"] for check in checks.values() if "alias_of" not in check) == (
        report["violations"] + report["pending"]
    )


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_sweep_counts_what_it_confirmed_under_both_names(dredge: Dredge, dry_run: bool) -> None:
    for line in dredge("sweep", "--json", *["--dry-run"] * dry_run).lines:
        assert line["condemned"] == line["confirmed"]


def test_an_explanation_has_the_digest_of_its_manifest_or_blob(garbage: Garbage, dredge: Dredge) -> None:
    digest = garbage.image("v1").manifest.digest
    for what in (digest, f"acme/app@{digest}"):
        (said,) = dredge("explain", what, "--json").lines
        assert said["digest"] == digest
    (tag,) = dredge("explain", "acme/app:v1", "--json").lines
    assert "digest" not in tag
