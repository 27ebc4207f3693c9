"""How names are written, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import BadInput
from model.names import parse_digest, parse_manifest, parse_repository, parse_tag

DIGEST = "sha256:" + "a" * 64


def test_names_are_taken_apart_and_put_together() -> None:
    repository = parse_repository("acme/web/front-end")
    assert repository == ("acme", "web/front-end")
    tag = parse_tag("acme/web/front-end:v1.0")
    assert (tag.repository, tag.tag) == (repository, "v1.0")
    manifest = parse_manifest(f"acme/web/front-end@{DIGEST}")
    assert (manifest.repository, manifest.digest) == (repository, DIGEST)
    assert (str(repository), str(tag)) == ("acme/web/front-end", "acme/web/front-end:v1.0")
    assert str(manifest) == f"acme/web/front-end@{DIGEST}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        "acme/",
        "/app",
        "acme//app",
        "acme/app/",
        "acme/../app",
        "Acme/app",
        "acme/app:v1",
        f"acme/app@{DIGEST}",
        "acme/app; DROP TABLE tag",
        "acme/app'--",
        "acme/" + "a" * 256,
        "acme/app\n",
        "acme/\x00",
        None,
        7,
        ["acme/app"],
    ],
)
def test_what_is_no_repository_is_refused(text: object) -> None:
    with pytest.raises(BadInput, match="is not a"):
        parse_repository(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["acme/app", "acme/app:", ":v1", "acme/app:-v", "acme/app:" + "a" * 129, f"acme/app@{DIGEST}"]
)
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_tag(text)


@pytest.mark.parametrize(
    "text", ["sha256:abc", "sha256:" + "A" * 64, "md5:" + "a" * 32, "a" * 64, DIGEST + "\n"]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_digest(text)
    with pytest.raises(BadInput):
        parse_manifest(f"acme/app@{text}")


@given(st.text())
def test_any_text_is_a_name_or_a_clear_error(text: str) -> None:
    for parse in (parse_repository, parse_tag, parse_manifest, parse_digest):
        try:
            assert str(parse(text)) == text
        except BadInput as error:
            assert len(str(error)) < 200
