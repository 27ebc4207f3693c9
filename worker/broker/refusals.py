"""Say in one line why a broker or Redis cannot be used, and what to do about it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import amqp
import redis
import redis.sentinel

from model.errors import BrokenInstallation, Verdict
from worker import verdicts
from worker.broker.connection import BrokerUnavailable

# Errors of other classes, for example of the operating system, end when the server is back.
_ANSWERS = (redis.RedisError, amqp.AMQPError, ssl.SSLCertVerificationError)


class BrokerRefuses(BrokerUnavailable, BrokenInstallation):
    """The broker answered, and refuses the user, the virtual host, the database or a command."""

    retryable = False


def find_refusal(error: BaseException) -> BaseException | None:
    """Return the error, or its cause, with which a server refuses what it will refuse again; or None."""
    for each in _causes(error):
        if isinstance(each, _ANSWERS) and verdicts.sort(each) is Verdict.BROKEN:
            return each
    return None


def explain(error: BaseException, variable: str) -> BrokerUnavailable:
    """Return the exception for a server that `variable` names: what is wrong, and what to do."""
    refused = find_refusal(error)
    said = "refuses" if refused else "did not answer"
    kind = BrokerRefuses if refused else BrokerUnavailable
    return kind(f"The broker {said}: {short(refused or error)}: {advice(error, variable)}")


def advice(error: BaseException, variable: str) -> str:
    """Return what to do about an error of the server that `variable` names."""
    refused = find_refusal(error)
    if isinstance(refused, redis.exceptions.NoPermissionError):
        return "grant the user what deploy/redis.acl lists"
    if isinstance(refused, amqp.NotAllowed):
        return f"create the virtual host and grant it to the user, or correct {variable}"
    if isinstance(refused, (redis.AuthenticationError, amqp.AccessRefused)):
        return f"correct user and password in {variable}"
    if isinstance(refused, ssl.SSLCertVerificationError):
        return f"name the CA's file in {variable}, as in ?ssl_ca_certs=/path/to/ca.pem"
    return f"correct {variable}" if refused else f"start it, or correct {variable}"


def short(error: BaseException) -> str:
    """Return the error's text in one line without its last full stop, or the name of its class."""
    text = " ".join(str(error).split())
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        # The library goes on with all that it knows about its clients.
        text = text.partition(" : ")[0]
    return text.rstrip(".") or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that led to it: kombu and redis-py raise errors of their own from others.

    Such a chain may be a circle, because a library raises an earlier error again.
    """
    seen = list[BaseException]()
    found: BaseException | None = error
    while found is not None and not any(found is each for each in seen):
        yield found
        seen.append(found)
        found = found.__cause__ or found.__context__
