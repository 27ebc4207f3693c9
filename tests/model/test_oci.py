"""Manifests as documents: what is none is refused, in one line."""

from __future__ import annotations

import json

import pytest

from model import digest as digests
from model import oci
from model.errors import BadDigest, BadManifest

GOOD = {"mediaType": "a/b", "digest": digests.of(b""), "size": 0}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schemaVersion": 2}x', "not JSON"),
        (b"[]", "not an object"),
        (b'"x"', "not an object"),
        (b"{}", "schema version"),
        (b'{"schemaVersion": 1, "config": {}, "layers": []}', "schema version"),
        (b'{"schemaVersion": true, "config": {}, "layers": []}', "schema version"),
        (b'{"schemaVersion": 2}', "either"),
        (json.dumps({"schemaVersion": 2, "manifests": [], "layers": []}).encode(), "either"),
        (json.dumps({"schemaVersion": 2, "manifests": {}}).encode(), "list"),
        (json.dumps({"schemaVersion": 2, "config": GOOD}).encode(), "list"),
        (json.dumps({"schemaVersion": 2, "layers": []}).encode(), "descriptors"),
        (json.dumps({"schemaVersion": 2, "config": None, "layers": []}).encode(), "descriptors"),
        (json.dumps({"schemaVersion": 2, "config": GOOD, "layers": [1]}).encode(), "descriptors"),
        (json.dumps({"schemaVersion": 2, "config": GOOD | {"size": -1}, "layers": []}).encode(), "size"),
        (json.dumps({"schemaVersion": 2, "config": GOOD | {"size": True}, "layers": []}).encode(), "size"),
        (json.dumps({"schemaVersion": 2, "config": GOOD | {"size": 1e3}, "layers": []}).encode(), "size"),
        (json.dumps({"schemaVersion": 2, "config": GOOD | {"size": 1 << 70}, "layers": []}).encode(), "size"),
        (
            json.dumps({"schemaVersion": 2, "config": GOOD | {"digest": "../x"}, "layers": []}).encode(),
            "digest",
        ),
        (json.dumps({"schemaVersion": 2, "config": GOOD | {"digest": 5}, "layers": []}).encode(), "digest"),
        (
            json.dumps({"schemaVersion": 2, "mediaType": "x/y", "config": GOOD, "layers": []}).encode(),
            "media type",
        ),
        (
            json.dumps(
                {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "config": GOOD, "layers": []}
            ).encode(),
            "media type",
        ),
        (json.dumps({"schemaVersion": 2, "mediaType": 3, "config": GOOD, "layers": []}).encode(), "text"),
        (
            json.dumps({"schemaVersion": 2, "config": GOOD, "layers": [], "artifactType": "a\0b"}).encode(),
            "text",
        ),
        (
            json.dumps({"schemaVersion": 2, "config": GOOD, "layers": [], "subject": {"digest": 1}}).encode(),
            "subject",
        ),
        (b" " * ((4 << 20) + 1), "4 MiB"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(content: bytes, why: str) -> None:
    with pytest.raises(BadManifest, match=why) as caught:
        oci.parse(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_manifest_must_be_what_it_was_announced_as() -> None:
    content = json.dumps({"schemaVersion": 2, "config": GOOD, "layers": []}).encode()
    assert oci.parse(content).media_type == oci.OCI_MANIFEST
    assert (
        oci.parse(content, media_type=oci.DOCKER_MANIFEST + "; charset=utf-8").media_type
        == oci.DOCKER_MANIFEST
    )
    with pytest.raises(BadManifest):
        oci.parse(content, media_type=oci.OCI_INDEX)
    with pytest.raises(BadDigest):
        oci.parse(content, digest=digests.of(b"x"))
    assert oci.parse(content, digest=digests.of(content, "sha512")).digest.startswith("sha512:")


def test_labels_that_cannot_be_stored_are_left_out() -> None:
    labels = {"good": "1", "nul": "a\0b", "": "empty", "k" * 256: "long", "number": 5, "half": "\ud800"}
    assert oci.config_labels(json.dumps({"config": {"Labels": labels}}).encode()) == {"good": "1"}
    for odd in (
        b"",
        b"{",
        b"[]",
        b'{"config": 3}',
        b'{"config": {"Labels": []}}',
        b'{"config": {"Labels": null}}',
    ):
        assert oci.config_labels(odd) == {}
