"""Patch two faults of kombu with Redis when it closes: an error that ends a worker, and a lost message.

A worker that loses its broker while it holds a message closes the channel twice.  The second time kombu
reads the address of a connection that no longer exists, and fails with an AttributeError, which ends the
worker.  The patch raises an error of the connection instead, which Celery handles.

A closing connection removes its channels from its list, and then each channel reads the answer of its last
BRPOP.  A message in that answer has no consumer any more.  kombu returns it to its queue through a channel of
the list, so with an empty list it is lost.  The patch closes each channel while the list has it.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as BrokenConnection

_original = transport.Channel._connparams
_close_original = transport.Transport.close_connection


def install() -> None:
    """Patch every channel and connection of this process.  Idempotent."""
    transport.Channel._connparams = _connection_parameters
    transport.Transport.close_connection = _close_connection


def _connection_parameters(channel: Any, asynchronous: bool = False) -> Any:
    if channel.connection is None or channel.connection.client is None:
        raise BrokenConnection("The channel's connection is closed")
    return _original(channel, asynchronous=asynchronous)


def _close_connection(closing: Any, connection: Any) -> None:
    try:
        for channel in list(closing.channels):
            channel.close()
    finally:
        _close_original(closing, connection)
