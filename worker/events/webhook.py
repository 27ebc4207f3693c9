"""Send one signed request to a webhook, according to the Standard Webhooks specification.

The host's address is resolved and checked here, and the connection uses that address, so that a second DNS
answer cannot lead to another one.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
from collections.abc import Sequence
from typing import TypeAlias

import httpx

from model.errors import RegistryError
from model.events.deliveries import Delivery
from model.events.outbox import OutboxRow
from worker.events.message import cloud_events

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
TIMEOUT_S = 10.0

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# IPv6 forms that contain an IPv4 address, and lead where that address leads.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


class NotDelivered(RegistryError):
    """The endpoint did not accept the event."""

    retryable = True


def secret_of(key: str, webhook: str) -> str:
    """Return the secret of one webhook, derived from the key: secrets differ, and none is stored."""
    return "whsec_" + base64.b64encode(_derived(key, webhook)).decode()


def _derived(key: str, webhook: str) -> bytes:
    return hmac.digest(key.encode(), f"dredge.webhook.{webhook}".encode(), hashlib.sha256)


def body_of(delivery: Delivery) -> tuple[str, bytes]:
    """Return content type and body: one CloudEvent, or the batch of CloudEvents of one row."""
    row = OutboxRow(
        delivery.id, delivery.event_id, delivery.type, delivery.subject, delivery.data, delivery.created_ms
    )
    events = list(cloud_events(row))
    if "items" not in json.loads(delivery.data):
        return SINGLE, json.dumps(events[0]).encode()
    return BATCH, json.dumps(events).encode()


def headers_of(delivery: Delivery, content_type: str, body: bytes, *, key: str) -> dict[str, str]:
    """Return the headers; every retry of a delivery has the same ID."""
    at_s = str(delivery.now_ms // 1000)
    signed = b".".join((delivery.event_id.encode(), at_s.encode(), body))
    digest = hmac.digest(_derived(key, delivery.webhook), signed, hashlib.sha256)
    return {
        "Content-Type": content_type,
        "User-Agent": "dredge",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": at_s,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def send(delivery: Delivery, *, key: str, networks: Sequence[Network], timeout_s: float = TIMEOUT_S) -> None:
    """Send a delivery.  Raises `NotDelivered` unless the endpoint answers with 2xx.

    Follows no redirect, uses no proxy, reads no body, and connects only to public addresses and `networks`.
    Verifies the certificate for the name, with the CAs of the system (or of `SSL_CERT_FILE`).
    """
    content_type, body = body_of(delivery)
    try:
        url = httpx.URL(delivery.url)
        address = find_address(url.host, url.port or (443 if url.scheme == "https" else 80), networks)
        if url.scheme != "https" and not _is_in(address, networks):
            raise NotDelivered("The address is not encrypted: use https, or list its network")
        headers = headers_of(delivery, content_type, body, key=key) | {"Host": url.netloc.decode()}
        pinned = url.copy_with(host=str(address))
        with (
            httpx.Client(timeout=timeout_s, trust_env=False, verify=ssl.create_default_context()) as client,
            client.stream(
                "POST", pinned, content=body, headers=headers, extensions={"sni_hostname": url.host}
            ) as answer,
        ):
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        # Without the error's text and the address, because a URL may contain a secret.
        raise NotDelivered(f"The endpoint did not answer: {type(error).__name__}") from error
    if not 200 <= status < 300:
        raise NotDelivered(f"The endpoint answered with status {status}")


def find_address(host: str, port: int, networks: Sequence[Network]) -> Address:
    """Return the first allowed address of a host.  Raises `NotDelivered` if there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotDelivered("The endpoint's name has no address") from error
    for *_, where in found:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if is_public(address) or _is_in(address, networks):
            return address
    raise NotDelivered("The endpoint is not on a public address: list its network in DREDGE_WEBHOOK_NETWORKS")


def is_public(address: Address) -> bool:
    """Return whether an address is of the public internet, not of this network or host."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address in _TRANSLATED:
            return False
    return address.is_global and not address.is_multicast


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((inner or address) in network for network in networks)
