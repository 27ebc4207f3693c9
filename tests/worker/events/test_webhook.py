"""Where webhooks may lead: public addresses and listed networks, encrypted, by the name that was judged."""

from __future__ import annotations

import socket
import ssl
from ipaddress import ip_address, ip_network

import pytest
import trustme

from model.errors import BadInput
from model.events.deliveries import Delivery
from model.events.webhooks import checked_url
from tests.worker.events.receiving import KEY, LOOPBACK, endpoint
from worker.events import webhook
from worker.events.webhook import NotDelivered, find_address, is_public, send


def delivery(url: str) -> Delivery:
    return Delivery(1, "ops", url, "e1", "registry.tag.deleted", "s", "{}", 0, 1, 5000, 0)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:53aa:64c::",
    ],
)
def test_an_address_of_this_network_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


def test_a_public_address_is_public() -> None:
    assert is_public(ip_address("93.184.216.34")) and is_public(ip_address("2606:2800:220:1::1"))
    assert is_public(ip_address("::ffff:93.184.216.34"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.1"])
def test_every_spelling_of_loopback_is_refused(host: str) -> None:
    with endpoint() as hook:
        with pytest.raises(NotDelivered, match=r"public address|has no address"):
            send(delivery(f"http://{host}:{hook.port}/"), key=KEY, networks=())
        assert hook.received == []


def test_a_public_address_without_encryption_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "find_address", lambda host, port, networks: ip_address("93.184.216.34"))
    with pytest.raises(NotDelivered, match="not encrypted"):
        send(delivery("http://example.com/"), key=KEY, networks=())


def test_a_name_is_looked_up_once_and_only_an_allowed_address_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [[(0, 0, 0, "", ("10.0.0.5", 443)), (0, 0, 0, "", ("93.184.216.34", 443))]]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: answers.pop())
    assert str(find_address("mixed.example", 443, ())) == "93.184.216.34" and answers == []


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    with endpoint(302) as hook:
        with pytest.raises(NotDelivered, match="status 302"):
            send(delivery(hook.url), key=KEY, networks=(LOOPBACK,))
        assert len(hook.received) == 1


def test_the_certificate_is_checked_for_the_name_though_the_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with authority.cert_pem.tempfile() as trusted, endpoint(certificate=context) as hook:
        right = delivery(f"https://localhost:{hook.port}/hook?a=b")
        with pytest.raises(NotDelivered, match="ConnectError"):
            send(right, key=KEY, networks=(LOOPBACK, ip_network("::1/128")))
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
        send(right, key=KEY, networks=(LOOPBACK,))
        with pytest.raises(NotDelivered, match="ConnectError"):
            send(delivery(f"https://127.0.0.1:{hook.port}/"), key=KEY, networks=(LOOPBACK,))
        (got,) = hook.received
        assert got.headers["host"] == f"localhost:{hook.port}"


def test_an_endpoint_that_is_not_there_is_said_without_its_address() -> None:
    with pytest.raises(NotDelivered) as caught:
        send(delivery("http://127.0.0.1:1/secret-path"), key=KEY, networks=(LOOPBACK,))
    assert "secret-path" not in str(caught.value) and "ConnectError" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["ftp://x/", "https://", "https://u:p@host/", "https://host/a b", "x", "https://h:0/", "https://h:x/"],
)
def test_an_address_that_is_none_is_refused_without_it(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked_url(url)
    assert "u:p" not in str(caught.value)
