"""One store of each kind: the contract suite runs on all of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.support.servers.node import Azurite, S3rver
from worker.storage.base import Store
from worker.storage.open import open_store

# None for Google: fake-gcs-server refuses the PUT of Google's XML API, which our library sends.
KINDS = (
    "local",
    "bucket",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("versioned", "s3rver", "azurite")),
)


@pytest.fixture(scope="session")
def s3rver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3rver]:
    server = S3rver(tmp_path_factory.mktemp("s3rver") / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    server = Azurite(tmp_path_factory.mktemp("azurite") / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def versioned_url(bucket_url: str, s3_endpoint: str) -> str:
    """A fresh bucket that keeps versions."""
    bucket = bucket_url.removeprefix("s3://").partition("/")[0]
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    return bucket_url


@pytest.fixture
def s3rver_url(s3rver: S3rver, tmp_path: Path) -> str:
    """A fresh bucket of s3rver, with credentials in a file."""
    bucket, key = f"bucket-{uuid.uuid4().hex}", s3rver.key
    (tmp_path / "s3rver").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {key}\n")
    boto3.client(
        "s3",
        endpoint_url=s3rver.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=key,
    ).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/registry/blobs?endpoint={s3rver.endpoint}&credentials_file={tmp_path}/s3rver"


@pytest.fixture
def azurite_url(azurite: Azurite, tmp_path: Path) -> str:
    """A fresh container of azurite, with credentials in a file."""
    container = f"container-{uuid.uuid4().hex}"
    endpoint = f"{azurite.endpoint}/{azurite.account}"
    (tmp_path / "azurite").write_text(
        f"AccountName={azurite.account};AccountKey={azurite.key};BlobEndpoint={endpoint}"
    )
    azurite.create_container(container)
    return f"az://{container}/registry/blobs?credentials_file={tmp_path}/azurite"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the stores a test runs on."""
    return str(request.param)


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A fresh store of each kind."""
    if kind == "local":
        return open_store(f"file://{tmp_path}/blobs", create=True)
    return open_store(request.getfixturevalue(f"{kind}_url"))
