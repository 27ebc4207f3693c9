"""Patch kombu so that a closed channel raises an error that Celery handles.

A worker that loses its broker while it holds a message closes the channel twice.  The second time kombu
reads the address of a connection that no longer exists, and fails with an AttributeError, which ends the
worker.  The patch raises an error of the connection instead, which Celery handles.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as BrokenConnection

_original = transport.Channel._connparams


def install() -> None:
    """Patch every channel of this process.  Idempotent."""
    transport.Channel._connparams = _connection_parameters


def _connection_parameters(channel: Any, asynchronous: bool = False) -> Any:
    if channel.connection is None or channel.connection.client is None:
        raise BrokenConnection("The channel's connection is closed")
    return _original(channel, asynchronous=asynchronous)
