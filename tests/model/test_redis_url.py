"""A Redis URL is read once, the same for everybody: what is refused, what is verified, what is secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from model import redis_client, redis_url
from model.errors import BadInput

SECRET = "hunter2"


def arguments(url: str) -> dict[str, Any]:
    """What the client of the library is told for a connection to a server of data."""
    client = redis_client.connector(redis_url.parse(url), 3)()
    assert isinstance(client, redis.Redis)
    return dict(client.connection_pool.connection_kwargs)


def test_credentials_and_database_are_percent_decoded() -> None:
    found = arguments("redis://us%2Fer:p%40s%3As@host:7000/3")
    assert (found["username"], found["password"]) == ("us/er", "p@s:s")
    assert (found["host"], found["port"], found["db"]) == ("host", 7000, 3)


def test_a_password_needs_no_user_and_a_host_no_port() -> None:
    found = arguments(f"redis://:{SECRET}@host")
    assert (found["username"], found["password"], found["port"], found["db"]) == (None, SECRET, 6379, 0)


def test_a_socket_has_its_path_a_database_and_credentials() -> None:
    found = arguments(f"unix://u:{SECRET}@/run/my%20redis/s.sock?db=2")
    assert (found["path"], found["db"], found["username"]) == ("/run/my redis/s.sock", 2, "u")


def test_certificates_are_verified_unless_the_url_says_otherwise(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    found = arguments(f"rediss://host/0?ssl_ca_certs={ca}")
    assert (found["ssl_cert_reqs"], found["ssl_check_hostname"]) == ("required", True)
    assert found["ssl_ca_certs"] == str(ca)
    for text in ("none", "CERT_NONE"):
        found = arguments(f"rediss://host/0?ssl_cert_reqs={text}")
        assert (found["ssl_cert_reqs"], found["ssl_check_hostname"]) == ("none", False)
    found = arguments("rediss://host/0?ssl_check_hostname=false")
    assert (found["ssl_cert_reqs"], found["ssl_check_hostname"]) == ("required", False)


def test_sentinels_are_asked_over_tls_and_with_credentials_of_their_own() -> None:
    url = redis_url.parse(
        f"rediss+sentinel://u:p@a:1,[::1]/main/3?sentinel_username=watcher&sentinel_password={SECRET}"
    )
    assert (url.nodes, url.service, url.database) == ((("a", 1), ("::1", 26379)), "main", 3)
    asked = url.sentinel_options(3)
    assert (asked["username"], asked["password"], asked["ssl"]) == ("watcher", SECRET, True)
    assert asked["ssl_cert_reqs"] == "required"
    assert SECRET not in repr(url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@host",
        f"redis://:{SECRET}@host:port",
        f"redis://:a/{SECRET}@host/0",
        f"redis://:a?{SECRET}@host/0",
        f"redis://:a#{SECRET}@host/0",
        f"redis://:{SECRET}@host/name",
        f"redis://:{SECRET}@a,b/0",
        f"redis://:{SECRET}@host/0?{SECRET}=1",
        f"redis://:{SECRET}@host/0?ssl_cert_reqs=none",
        f"rediss://:{SECRET}@host/0?ssl_cert_reqs=perhaps",
        f"rediss://:{SECRET}@host/0?ssl_ca_certs=/nowhere/ca.pem",
        f"redis+sentinel://:{SECRET}@host",
        f"redis+sentinel://:{SECRET}@/main/0",
        f"redis+cluster://:{SECRET}@",
        f"unix://:{SECRET}@host/socket",
        f"redis://[{SECRET}",
    ],
)
def test_what_cannot_be_is_refused_without_a_word_of_the_url(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        redis_url.parse(url)
    assert SECRET not in str(caught.value)
