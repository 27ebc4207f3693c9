"""A bucket's URL: one spelling, a file of credentials, and no secret in it or in what is said about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import BadInput
from worker.settings import Settings, SettingsError
from worker.storage.base import StoreUnavailable
from worker.storage.open import open_store


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("s3://b/x/", "s3://b//x"),
        ("s3://b/x?endpoint=https://MinIO:443/", "s3://b/x?endpoint=https://minio"),
        ("s3://b/x?region=eu-central-1", "s3://b/x?endpoint=https://s3.us-west-2.amazonaws.com"),
    ],
)
def test_two_spellings_of_one_bucket_have_one_address(url: str, same: str) -> None:
    assert open_store(url).address == open_store(same).address
    assert open_store(url).address != open_store("s3://b/y").address


@pytest.mark.parametrize(
    "url", ["s3://key:hunter2@bucket/x", "s3://b/x?secret_access_key=hunter2", "az://b/x?sas_token=hunter2"]
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInput, match="credentials_file") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "local\0us",
        "ftp://host/x",
        "file://",
        "file://host/path",
        "file:///objects%00",
        "s3://",
        "s3:///prefix",
        "s3://two words/x",
        "s3://bucket:9000/x",
        "s3://bucket/../x",
        "s3://[::1/x",
        "s3://bucket?timeout=soon",
        "s3://bucket?virtual_host=perhaps",
        "s3://bucket?endpoint=minio:9000",
        "s3://bucket?endpoint=http://minio:port",
        "s3://bucket?endpoint=http://[::1",
        "gs://",
        "az://?account=x",
        "http://user:hunter2@host/x",
    ],
)
def test_a_url_that_names_no_store_is_wrong_before_anything_runs(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"^DREDGE_STORAGE: location local_us: ") as wrong:
        Settings.from_env({"DREDGE_STORAGE": f"local_us={url}"})
    assert "hunter2" not in str(wrong.value)


def test_a_location_has_its_own_credentials(
    tmp_path: Path, bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").write_text("[default]\naws_access_key_id = other\naws_secret_access_key = hunter2\n")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    half = open_store(bucket_url).erase(["a/b"])[0].error
    assert half and "one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is missing" in half
    store = open_store(f"{bucket_url}&credentials_file={tmp_path}/aws")
    assert store.write("a/b", [b"x"]) == 1 and store.erase(["a/b"])[0].error is None
    assert "hunter2" not in repr(store) + repr(vars(store))


def test_google_and_azure_say_where_they_are_without_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "azure").write_text(
        "AccountName=acme;AccountKey=aHVudGVyMg==;EndpointSuffix=core.windows.net"
    )
    azure = open_store(f"az://box/x?credentials_file={tmp_path}/azure")
    assert azure.address == "az://acme.blob.core.windows.net/box/x"
    assert open_store("az://box/x?account=acme").address == azure.address
    with pytest.raises(StoreUnavailable, match="no storage account"):
        _ = open_store("az://box/x").address
    (tmp_path / "google").write_text(json.dumps({"gcs_base_url": "http://127.0.0.1:1"}))
    assert open_store(f"gs://b?credentials_file={tmp_path}/google").address == "gs://127.0.0.1:1/b"
