"""The configuration: read once, whole, and loudly; and every setting is in the documentation."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from tests.support.pages import CONFIGURATION, refreshed_configuration, setting_row
from worker.settings import PREFIX, Settings, SettingsError


def test_every_setting_is_documented_and_no_other() -> None:
    text = CONFIGURATION.read_text()
    assert refreshed_configuration(text) == text, "run `make docs`"
    rows = [line for line in text.splitlines() if line.startswith(f"| `{PREFIX}")]
    assert sorted(rows) == sorted(map(setting_row, fields(Settings)))


def test_all_problems_come_at_once() -> None:
    wrong = {
        "DREDGE_DATABASE_URL": "mysql://host/quay",
        "DREDGE_SCAN_LIMIT": "many",
        "DREDGE_METRICS_PORT": "70000",
        "DREDGE_REFERRERS": "keep",
        "DREDGE_AUTOPRUNE": "perhaps",
        "DREDGE_STORAGE": "a=/x,a=/y",
        "DREDGE_SCAN_LIMITS": "5",
        "DREDGE_CACHE_TTL_REPOSITORY_BLOB": "soon",
        "DREDGE_CACHE_MAX_BYTES_REPOSITORY_BLOB": "0",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(wrong)
    assert {problem.split(":")[0] for problem in caught.value.problems} == set(wrong)
    assert any(
        "DREDGE_SCAN_LIMITS: no such setting: did you mean DREDGE_SCAN_LIMIT" in problem
        for problem in caught.value.problems
    )


def test_what_contradicts_is_a_problem() -> None:
    with pytest.raises(SettingsError, match="UPLOAD_LOCATION: local_us is not one of DREDGE_STORAGE"):
        Settings.from_env({"DREDGE_STORAGE": "eu=/x,us=/y"})


def test_one_location_alone_is_the_upload_location_whatever_its_name() -> None:
    assert Settings.from_env({"DREDGE_STORAGE": "default=/x"}).upload_location == "default"
    assert Settings.from_env({"DREDGE_STORAGE": "/x"}).upload_location == "local_us"
    with pytest.raises(SettingsError, match="elsewhere is not one of"):
        Settings.from_env({"DREDGE_STORAGE": "default=/x", "DREDGE_UPLOAD_LOCATION": "elsewhere"})


def test_every_value_arrives_with_its_type() -> None:
    read = Settings.from_env(
        {
            "DREDGE_DATABASE_URL": "postgresql://quay@db/quay",
            "DREDGE_STORAGE": "eu=s3://bucket/prefix?endpoint=http://minio:9000, us=/objects",
            "DREDGE_UPLOAD_LOCATION": "us",
            "DREDGE_SCAN_INTERVAL_S": "0.5",
            "DREDGE_AUTOPRUNE": "on",
            "DREDGE_REFERRERS": "cascade",
            "DREDGE_REFERRER_GRACE_S": "60",
            "DREDGE_CACHE_TTL_REPOSITORY_BLOB": "5",
            "DREDGE_CACHE_MAX_BYTES_CATALOG_PAGE": "2000",
            "DREDGE_LOG_FORMAT": "  ",
            "PATH": "/bin",
        }
    )
    assert read.storage == {"eu": "s3://bucket/prefix?endpoint=http://minio:9000", "us": "/objects"}
    assert (read.scan_interval_s, read.autoprune, read.cache_ttls) == (0.5, True, {"repository_blob": 5.0})
    assert read.cache_sizes == {"catalog_page": 2000}
    assert (read.policy.referrers, read.policy.referrer_grace_ms) == ("cascade", 60_000)
    assert read.log_format == "text"


@pytest.mark.parametrize("location", ["/objects", "file:///objects", "s3://bucket"])
def test_one_bare_place_is_the_usual_location(location: str) -> None:
    assert Settings.from_env({"DREDGE_STORAGE": location}).storage == {"local_us": location}


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().autoprune = False  # type: ignore[misc]


def test_nothing_reads_the_environment_but_the_doors() -> None:
    doors = {
        "celeryconfig.py",
        "worker/cli/output.py",
        "worker/cli/repositories.py",
        "worker/cli/embedded.py",
        "worker/broker/signals.py",
        "worker/metrics.py",
        "worker/stopping.py",  # whether a shell asks for completions, before settings can be read
        "worker/tracing.py",  # OpenTelemetry's own variables
        "worker/wiring.py",
    }
    root = CONFIGURATION.parents[2]
    sources = [root / "celeryconfig.py", *root.glob("model/**/*.py"), *root.glob("worker/**/*.py")]
    reading = re.compile(r"os\.environ|getenv")
    readers = {str(path.relative_to(root)) for path in sources if reading.search(path.read_text())}
    assert readers <= doors, "pass settings down instead"
