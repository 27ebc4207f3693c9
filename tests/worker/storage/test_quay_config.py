"""Quay's configuration of storage becomes Dredge's, as the page says, and no key is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from model.errors import BadInput
from worker.cli import dredge
from worker.parsers import locations
from worker.storage.open import open_store
from worker.storage.quay_config import DRIVERS, translate

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "storage.md"
ROW = re.compile(r"^\| `(\w+)` \| `(\{.*\})` \| `(\S+)` \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text())
KEYS = {"AWS credentials": "aws_access_key_id = k", "connection string": "AccountKey=aGk="}


def run(tmp_path: Path, config: object, *more: str) -> Result:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return CliRunner().invoke(dredge, ["quay-storage", str(path), *more])


@pytest.mark.parametrize(("driver", "parameters", "url", "keys"), ROWS)
def test_each_row_of_the_page_is_what_the_driver_becomes(
    driver: str, parameters: str, url: str, keys: str
) -> None:
    found = translate("default", [driver, json.loads(parameters)])
    assert found.url == url and open_store(url)
    assert KEYS.get(keys, "") in found.credentials and bool(found.credentials) == (keys in KEYS)


def test_the_page_has_every_driver() -> None:
    assert {driver for driver, *_ in ROWS} == set(DRIVERS)


def test_a_whole_configuration_becomes_settings_and_files_of_keys(tmp_path: Path) -> None:
    config = {
        "DISTRIBUTED_STORAGE_CONFIG": {
            "default": ["LocalStorage", {"storage_path": "/data/registry"}],
            "eu": [
                "RadosGWStorage",
                {
                    "hostname": "rgw",
                    "is_secure": False,
                    "port": 80,
                    "bucket_name": "b",
                    "storage_path": "/x",
                    "access_key": "k",
                    "secret_key": "hunter2",
                },
            ],
        },
        "DISTRIBUTED_STORAGE_PREFERENCE": ["eu", "default"],
    }
    result = run(tmp_path, config, "--credentials", str(tmp_path / "keys"))
    storage, upload = result.stdout.splitlines()
    key_file = tmp_path / "keys" / "eu"
    found = locations(storage.removeprefix("DREDGE_STORAGE='").removesuffix("'"))
    assert upload == "DREDGE_UPLOAD_LOCATION=eu" and found == {
        "default": "file:///data/registry",
        "eu": f"s3://b/x?endpoint=http://rgw:80&credentials_file={key_file}",
    }
    assert all(open_store(url) for url in found.values())
    assert "hunter2" not in result.output and "hunter2" in key_file.read_text()
    assert key_file.stat().st_mode & 0o077 == 0
    without = run(tmp_path, config)
    assert "hunter2" not in without.output and "eu: its keys are not part" in without.stderr
    shown = json.loads(run(tmp_path, config, "--json").stdout)
    assert shown["upload_location"] == "eu" and set(shown["storage"]) == {"default", "eu"}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "no DISTRIBUTED_STORAGE_CONFIG"),
        ({"DISTRIBUTED_STORAGE_CONFIG": {"a": ["SwiftStorage", {}]}}, "S3 API of the same cluster"),
        ({"DISTRIBUTED_STORAGE_CONFIG": {"a": ["FakeStorage", {}]}}, "does not know this driver"),
        ({"DISTRIBUTED_STORAGE_CONFIG": {"a": ["S3Storage", {}]}}, "lacks s3_bucket"),
        ({"DISTRIBUTED_STORAGE_CONFIG": {"a": "LocalStorage"}}, "a list of a driver and its parameters"),
        ("DISTRIBUTED_STORAGE_CONFIG", "no DISTRIBUTED_STORAGE_CONFIG"),
    ],
)
def test_what_cannot_be_translated_is_said_in_one_line(tmp_path: Path, config: object, problem: str) -> None:
    result = run(tmp_path, config)
    assert isinstance(result.exception, BadInput) and problem in str(result.exception)
