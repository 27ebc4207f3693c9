"""One URL, spelled as kombu and Celery's result backend want it: they understand what was meant."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from kombu import Connection

from model.errors import BadInput
from worker.broker import routes
from worker.broker.urls import for_kombu, place


def understood(url: str) -> Connection:
    found = for_kombu(url)
    return Connection(
        found.url, ssl=found.ssl or False, transport_options=routes.transport_options(url, "x:")
    )


def parameters(url: str) -> dict[str, Any]:
    """What kombu's channel gives to the client library."""
    link = understood(url)
    channel: Any = object.__new__(link.transport.Channel)
    channel.connection = link.transport
    return dict(channel._connparams())


def test_kombu_connects_where_and_as_whom_the_url_says() -> None:
    found = parameters("redis://us%2Fer:p%40s%3As@host:7000/3")
    assert (found["username"], found["password"]) == ("us/er", "p@s:s")
    assert (found["host"], found["port"], found["db"]) == ("host", 7000, 3)


def test_kombu_verifies_certificates_unless_the_url_says_otherwise() -> None:
    found = parameters("rediss://:p@host/0")
    assert (found["ssl_cert_reqs"], found["ssl_check_hostname"]) == ("required", True)
    assert parameters("rediss://:p@host/0?ssl_cert_reqs=none")["ssl_cert_reqs"] == "none"


def test_kombu_finds_the_socket_its_database_and_credentials() -> None:
    found = parameters("unix://u:p%40@/run/my%20redis/s.sock?db=2")
    assert (found["path"], found["db"]) == ("/run/my redis/s.sock", 2)
    assert (found["username"], found["password"]) == ("u", "p@")


def test_kombu_knows_every_sentinel_and_the_name_of_the_master() -> None:
    link = understood("redis+sentinel://u:p%3B@a:1,b/main/3")
    assert link.alt == ["sentinel://u:p%3B@a:1/3", "sentinel://u:p%3B@b:26379/3"]
    assert (link.password, link.virtual_host) == ("p;", "3")
    assert link.transport_options["master_name"] == "main"


def test_rabbitmq_has_virtual_hosts_several_nodes_and_verified_certificates() -> None:
    assert understood("amqp://u:p%2F@host").virtual_host == "/"
    link = understood("amqp://u:p%2F@one,two:99/v%2Fx")
    assert (link.virtual_host, link.password, link.port) == ("v/x", "p/", 5672)
    assert link.alt == ["amqp://u:p%2F@one:5672/v%2Fx", "amqp://u:p%2F@two:99/v%2Fx"]
    assert understood("amqps://u:p@host").ssl == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    assert understood("amqps://h?ssl_cert_reqs=none").ssl == {"cert_reqs": ssl.CERT_NONE}


@pytest.mark.parametrize(
    "url", ["redis+cluster://host", "amqp://:hunter2@host/?x=1", "amqps://a,b/", "amqp://:a/hunter2@h"]
)
def test_what_no_broker_can_be_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        for_kombu(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:hunter2@host/0", "host:6379"),
        ("redis+sentinel://u:hunter2@a,b/main/0", "a:26379,b:26379 (main)"),
        ("unix:///run/s.sock", "/run/s.sock"),
        ("amqps://u:hunter2@host/v", "host:5671"),
    ],
)
def test_a_place_is_shown_without_secrets(url: str, shown: str) -> None:
    assert place(url) == shown
