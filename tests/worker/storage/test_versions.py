"""A bucket that keeps versions, and objects that are too large for one request to copy."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from model.storage_paths import trash_path
from worker.storage.base import Trash
from worker.storage.s3 import S3Store
from worker.storage_url import parse_bucket_url

PATH = "sha256/ab/abc"
TRASH = trash_path(7, PATH)
PART = 5 << 20
LARGE = bytes(range(256)) * (11 << 12)


class Bucket:
    """What the server itself says about the versions of a bucket."""

    def __init__(self, url: str, endpoint: str) -> None:
        self.parsed = parse_bucket_url(url)
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")

    def versions(self, path: str = "") -> tuple[list[str], int]:
        """The ids of the versions below a path, and how many delete markers there are."""
        prefix = f"{self.parsed.prefix}/{path}"
        found: dict[str, Any] = self.client.list_object_versions(Bucket=self.parsed.bucket, Prefix=prefix)
        return [each["VersionId"] for each in found.get("Versions", ())], len(found.get("DeleteMarkers", ()))


@pytest.fixture
def bucket(versioned_url: str, s3_endpoint: str) -> Bucket:
    return Bucket(versioned_url, s3_endpoint)


@pytest.fixture
def versioned(bucket: Bucket) -> S3Store:
    return S3Store(bucket.parsed, copy_part=PART)


def test_setting_aside_hides_the_version_and_copies_nothing(versioned: S3Store, bucket: Bucket) -> None:
    versioned.write(PATH, [b"precious"])
    (version,), _ = bucket.versions(PATH)
    (moved,) = versioned.set_aside([(PATH, TRASH)])
    assert (moved.existed, moved.version, moved.error) == (True, version, None)
    assert versioned.size(PATH) is None and bucket.versions() == ([version], 1)
    (again,) = versioned.set_aside([(PATH, TRASH)])
    assert (again.existed, again.version) == (True, version), "the marker of the first call is recognised"


def test_case_79_what_was_hidden_comes_back_as_a_new_version_that_a_late_purge_does_not_hit(
    versioned: S3Store, bucket: Bucket
) -> None:
    versioned.write(PATH, [b"precious"])
    (moved,) = versioned.set_aside([(PATH, TRASH)])
    assert versioned.put_back(PATH, TRASH, moved.version)
    (now, hidden), _ = bucket.versions(PATH)
    assert now != moved.version == hidden and versioned.size(PATH) == 8
    (late,) = versioned.purge([Trash(PATH, TRASH, moved.version)])
    assert late.error is None and bucket.versions(PATH)[0] == [now] and versioned.size(PATH) == 8


def test_case_79_a_purge_names_the_hidden_version_and_leaves_the_others(
    versioned: S3Store, bucket: Bucket
) -> None:
    versioned.write(PATH, [b"old"])
    (moved,) = versioned.set_aside([(PATH, TRASH)])
    versioned.write(PATH, [b"new"])
    (purged,) = versioned.purge([Trash(PATH, TRASH, moved.version)])
    assert purged.error is None
    assert moved.version not in bucket.versions(PATH)[0] and versioned.size(PATH) == 3


def test_case_79_the_live_version_is_never_purged(versioned: S3Store, bucket: Bucket) -> None:
    versioned.write(PATH, [b"live"])
    (live,), _ = bucket.versions(PATH)
    (kept,) = versioned.purge([Trash(PATH, TRASH, live)])
    assert (kept.existed, kept.error) == (False, None), "nothing is hidden under that version any more"
    assert bucket.versions(PATH) == ([live], 0)


def test_a_large_object_is_put_back_in_parts(versioned: S3Store, bucket: Bucket) -> None:
    versioned.write(PATH, [LARGE])
    (moved,) = versioned.set_aside([(PATH, TRASH)])
    assert versioned.put_back(PATH, TRASH, moved.version)
    assert b"".join(versioned.read(PATH)) == LARGE
    (now, _), _ = bucket.versions(PATH)
    parts = bucket.client.head_object(
        Bucket=bucket.parsed.bucket, Key=f"{bucket.parsed.prefix}/{PATH}", PartNumber=1
    )
    assert now != moved.version and parts["ContentLength"] == PART


@pytest.mark.parametrize(
    "url", ["bucket_url", pytest.param("s3rver_url", marks=pytest.mark.slow)], ids=["moto", "s3rver"]
)
def test_a_large_object_goes_to_the_trash_and_back_in_parts(url: str, request: pytest.FixtureRequest) -> None:
    """S3 copies at most 5 GB in one request; here the limit is the least that a server takes for a part.

    s3rver cannot copy in parts, and has no such limit.
    """
    store = S3Store(parse_bucket_url(request.getfixturevalue(url)), copy_part=PART)
    store.write(PATH, [LARGE])
    store.write("sha256/ab/bystander", [b"x"])
    (moved,) = store.set_aside([(PATH, TRASH)])
    assert (moved.existed, moved.version, moved.error) == (True, "", None)
    assert store.size(PATH) is None and store.size(TRASH) == len(LARGE)
    assert store.put_back(PATH, TRASH) and b"".join(store.read(PATH)) == LARGE
    (purged,) = store.purge([Trash(PATH, TRASH, "")])
    assert purged.error is None and store.size(TRASH) is None
    assert store.size(PATH) == len(LARGE) and store.size("sha256/ab/bystander") == 1
