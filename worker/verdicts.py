"""Classify every exception of a task: temporary, permanent for its item, or a broken installation."""

from __future__ import annotations

import errno
import ssl

import amqp.exceptions
import celery.exceptions
import httpx
import kombu.exceptions
import redis
import redis.exceptions
from peewee import PeeweeException
from playhouse.pool import MaxConnectionsExceeded
from psycopg2 import Error as DriverError

from model.db import sqlstate
from model.errors import BrokenInstallation, RegistryError, Verdict

# The first entry whose class matches the error decides, so a subclass stands before its base.
_SORTED: tuple[tuple[Verdict, tuple[type[BaseException], ...]], ...] = (
    (
        Verdict.BROKEN,
        (
            BrokenInstallation,
            redis.AuthenticationError,
            redis.exceptions.AuthorizationError,
            redis.exceptions.NoPermissionError,
            redis.exceptions.ModuleError,
            ssl.SSLCertVerificationError,
            amqp.exceptions.IrrecoverableChannelError,
            amqp.exceptions.NotAllowed,
            amqp.exceptions.InvalidPath,
            redis.exceptions.AuthenticationWrongNumberOfArgsError,
            kombu.exceptions.VersionMismatch,
            kombu.exceptions.NotBoundError,
            celery.exceptions.NotRegistered,
            celery.exceptions.ImproperlyConfigured,
            celery.exceptions.QueueNotFound,
        ),
    ),
    (
        Verdict.NOT_NOW,
        (
            MaxConnectionsExceeded,
            redis.ConnectionError,
            redis.TimeoutError,
            redis.ReadOnlyError,
            redis.BusyLoadingError,
            redis.exceptions.OutOfMemoryError,
            redis.exceptions.ClusterError,
            redis.exceptions.SlotNotCoveredError,
            redis.exceptions.TryAgainError,
            redis.exceptions.MovedError,
            redis.exceptions.MasterDownError,
            redis.exceptions.NoScriptError,
            redis.exceptions.ExecAbortError,
            redis.exceptions.LockError,
            redis.exceptions.WatchError,
            kombu.exceptions.OperationalError,
            kombu.exceptions.BatchPublishError,
            kombu.exceptions.LimitExceeded,
            celery.exceptions.TimeoutError,
            celery.exceptions.BackendGetMetaError,
            celery.exceptions.BackendStoreError,
            amqp.exceptions.AMQPError,
            httpx.TransportError,
            ssl.SSLError,
        ),
    ),
    (Verdict.NEVER, (kombu.exceptions.KombuError, celery.exceptions.CeleryError, httpx.HTTPError)),
    (Verdict.BROKEN, (redis.ResponseError, redis.exceptions.RedisClusterException)),
    (Verdict.NEVER, (redis.RedisError,)),
)
_OS = {
    Verdict.BROKEN: (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENODEV, errno.ENXIO, errno.ENOSYS, errno.ENOTSUP),
    ),
    Verdict.NEVER: (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EFBIG, errno.ELOOP, errno.EEXIST),
}
_BY_ERRNO = {number: verdict for verdict, numbers in _OS.items() for number in numbers}


def sort(error: BaseException) -> Verdict:
    """Return the verdict on an error; an error without an entry is not retried for the same item."""
    for verdict, classes in _SORTED:
        if isinstance(error, classes):
            return verdict
    if isinstance(error, RegistryError):
        return Verdict.NOT_NOW if error.retryable else Verdict.NEVER
    if isinstance(error, DriverError):
        return sqlstate.sort(error.pgcode)
    if isinstance(error, PeeweeException):
        cause = getattr(error, "orig", None) or error.__cause__
        return sort(cause) if isinstance(cause, DriverError) else Verdict.NEVER
    if isinstance(error, OSError):
        # No number, or the number of a connection, a full disk or a device: a retry may succeed.
        return _BY_ERRNO.get(error.errno or 0, Verdict.NOT_NOW)
    return Verdict.NEVER
