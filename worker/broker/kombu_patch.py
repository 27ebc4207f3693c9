"""A closed channel of kombu's says so, in words that Celery understands.

A worker that loses its broker while it holds a message closes the channel twice.  The second time kombu
asks for the address of a connection that is no more, and fails with an AttributeError, which nobody
expects: the worker ends.  As an error of the connection it is known everywhere, and passes.
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
