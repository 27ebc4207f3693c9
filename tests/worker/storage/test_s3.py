"""S3 at its worst: refusals of single keys, slow-downs, silence, listings that stop half-way."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.servers.unruly import HANG, Answer, Unruly, unruly_server
from worker.storage.base import Store, StoreUnavailable
from worker.storage.open import open_store
from worker.storage.s3 import S3Store


@pytest.fixture
def unruly(s3_endpoint: str) -> Iterator[Unruly]:
    with unruly_server(s3_endpoint) as server:
        yield server


@pytest.fixture
def store(unruly: Unruly, bucket_url: str, s3_endpoint: str) -> S3Store:
    made = open_store(bucket_url.replace(s3_endpoint, unruly.url))
    assert isinstance(made, S3Store)
    return made


@pytest.fixture
def impatient(unruly: Unruly, bucket_url: str, s3_endpoint: str) -> Store:
    return open_store(bucket_url.replace(s3_endpoint, unruly.url).replace("timeout=30", "timeout=1"))


def filled(store: Store, count: int) -> list[str]:
    paths = [f"sha256/{n % 16:02x}/{n:04d}" for n in range(count)]
    for path in paths:
        store.write(path, [b"x"])
    return paths


def left(store: Store) -> set[str]:
    return {found.path for found in store.list()}


def is_bulk(method: str, path: str) -> bool:
    return method == "POST" and "delete" in path


def refusal(*keys: str, code: str = "AccessDenied") -> bytes:
    errors = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>" for key in keys
    )
    return f'<?xml version="1.0"?><DeleteResult>{errors}</DeleteResult>'.encode()


def refuse(unruly: Unruly, *refused: str) -> None:
    """The server deletes what it is asked for, but not these keys."""

    def answer(method: str, path: str, body: bytes) -> Answer:
        if is_bulk(method, path):
            keys = re.findall(r"<Key>([^<]*)</Key>", body.decode())
            bad = [key for key in keys if key.endswith(refused)]
            return (200, refusal(*bad)) if bad else None
        if method == "DELETE" and path.endswith(refused):
            return 403, b"<Error><Code>AccessDenied</Code></Error>"
        return None

    unruly.answer = answer


def test_credentials_and_endpoint_come_from_where_they_should(store: S3Store, unruly: Unruly) -> None:
    store.check()
    assert {method for method, _ in unruly.requests} >= {"PUT", "GET", "POST"}


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_store_passes_its_check_if_one_bulk_delete_fails(
    store: S3Store, unruly: Unruly, failing: int
) -> None:
    """As s3rver's do when two deletes of one request remove the same empty folder."""
    store.write("bystander", [b"x"])

    def answer(method: str, path: str, _body: bytes) -> Answer:
        failed = is_bulk(method, path) and bulks(unruly) == failing
        return (500, b"<Error><Code>InternalError</Code></Error>") if failed else None

    unruly.answer = answer
    store.check()
    assert bulks(unruly) == failing and left(store) == {"bystander"}


def test_a_refused_key_fails_alone(store: S3Store, unruly: Unruly) -> None:
    paths = filled(store, 10)
    refuse(unruly, paths[3], paths[7])
    results = store.erase(paths)
    assert [result.path for result in results] == paths
    assert {result.path for result in results if result.error} == {paths[3], paths[7]}
    assert all("AccessDenied" in str(result.error) for result in results if result.error)
    assert not any(result.unknown for result in results)
    assert left(store) == {paths[3], paths[7]}


def test_many_refused_keys_are_deleted_one_by_one(store: S3Store, unruly: Unruly) -> None:
    paths = filled(store, 30)
    refuse(unruly, *paths[:15])
    results = store.erase(paths)
    assert {result.path for result in results if result.error} == set(paths[:15])
    assert left(store) == set(paths[:15])


def bulks(unruly: Unruly) -> int:
    return len([request for request in unruly.requests if is_bulk(*request)])


REFUSALS = [
    *[(400, "MalformedXML"), (403, "AccessDenied"), (404, "NoSuchKey"), (404, "")],
    *[(405, "MethodNotAllowed"), (411, "MissingContentLength"), (501, "NotImplemented"), (501, "")],
]


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_case_83_a_server_without_bulk_deletes_gets_single_ones_and_is_asked_and_told_of_once(
    store: S3Store, unruly: Unruly, caplog: pytest.LogCaptureFixture, status: int, code: str
) -> None:
    caplog.set_level("WARNING", logger="dredge")
    body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    unruly.answer = lambda method, path, _body: (status, body) if is_bulk(method, path) else None
    for _ in range(2):
        paths = filled(store, 5)
        assert [result.error for result in store.erase(paths)] == [None] * 5
        assert left(store) == set()
    assert bulks(unruly) == 1
    assert [record.message for record in caplog.records].count("storage.no_bulk_delete") == 1


def test_case_54_a_slow_down_is_an_error_and_lowers_the_rate(store: S3Store, unruly: Unruly) -> None:
    paths = filled(store, 5)
    fast = store._eraser.requests.rate
    unruly.answer = lambda method, path, _body: (
        (503, b"<Error><Code>SlowDown</Code></Error>") if is_bulk(method, path) else None
    )
    results = store.erase(paths)
    assert all("fewer requests" in str(result.error) and not result.unknown for result in results)
    assert store._eraser.requests.rate == fast / 2
    assert len([request for request in unruly.requests if request[0] == "POST"]) == 1, "no blind retry"
    unruly.answer = lambda *_: None
    assert [result.error for result in store.erase(paths)] == [None] * 5
    assert store._eraser.requests.rate > fast / 2


def test_silence_means_that_nobody_knows(store: S3Store, impatient: Store, unruly: Unruly) -> None:
    paths = filled(store, 3)
    unruly.answer = lambda method, path, _body: HANG if is_bulk(method, path) else None
    results = impatient.erase(paths)
    assert all(result.unknown and "in time" in str(result.error) for result in results)
    assert impatient.late_delete_ms >= 2000


def test_a_server_error_means_that_nobody_knows(store: S3Store, unruly: Unruly) -> None:
    unruly.answer = lambda method, path, _body: (504, b"") if is_bulk(method, path) else None
    assert [result.unknown for result in store.erase(["a/b", "a/c"])] == [True, True]
    unruly.answer = lambda method, path, _body: (504, b"") if method == "DELETE" else None
    assert [result.unknown for result in store.erase(["a/b"])] == [True]


def test_a_server_that_is_not_there_did_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    store = open_store("s3://bucket/x?endpoint=http://127.0.0.1:9&region=us-east-1&timeout=1")
    (result,) = store.erase(["a/b"])
    assert (result.unknown, "cannot be reached" in str(result.error)) == (False, True)


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, s3_endpoint: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    (result,) = open_store(f"s3://bucket?endpoint={s3_endpoint}&region=us-east-1&timeout=1").erase(["a/b"])
    assert "AWS_ACCESS_KEY_ID" in str(result.error)
    assert not result.unknown


def test_a_missing_bucket_and_a_refused_key_say_what_to_do(unruly: Unruly, bucket_url: str) -> None:
    store = open_store(f"s3://no-such-bucket?endpoint={unruly.url}&region=us-east-1")
    for call in (store.check, lambda: list(store.list())):
        with pytest.raises(StoreUnavailable, match="create the bucket"):
            call()
    unruly.answer = lambda *_: (403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
    with pytest.raises(StoreUnavailable, match="credentials"):
        store.check()


def test_a_listing_that_breaks_is_an_error(store: S3Store, unruly: Unruly) -> None:
    filled(store, 3)
    unruly.answer = lambda method, path, _body: (400, b"<Error/>") if "list-type" in path else None
    with pytest.raises(StoreUnavailable):
        list(store.list())


def page(keys: list[str], truncated: bool) -> bytes:
    contents = "".join(
        f"<Contents><Key>registry/blobs/{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f'<ETag>"x"</ETag><Size>1</Size></Contents>'
        for key in keys
    )
    return (
        f'<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>{str(truncated).lower()}'
        f"</IsTruncated>{contents}</ListBucketResult>"
    ).encode()


def test_a_truncated_page_without_a_next_one_is_not_taken_for_the_end(store: S3Store, unruly: Unruly) -> None:
    paths = filled(store, 40)

    def half(method: str, path: str, _body: bytes) -> Answer:
        if "list-type" in path and "start-after" not in path:
            return 200, page(sorted(paths)[:20], truncated=True)
        return None

    unruly.answer = half
    assert [found.path for found in store.list()] == sorted(paths)


def test_a_server_that_repeats_itself_is_an_error(store: S3Store, unruly: Unruly) -> None:
    unruly.answer = lambda method, path, _body: (
        (200, page(["a/1", "a/2"], truncated=True)) if "list-type" in path else None
    )
    with pytest.raises(StoreUnavailable, match="out of order"):
        list(store.list())


def test_thousands_go_in_parallel_requests_of_a_thousand(store: S3Store, unruly: Unruly) -> None:
    paths = [f"sha256/aa/{n:05d}" for n in range(3_500)]
    assert not [result for result in store.erase(paths) if result.error]
    assert len([request for request in unruly.requests if request[0] == "POST"]) == 4
