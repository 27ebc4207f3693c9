"""The client of S3: its address, its credentials, and which requests it repeats."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, cached_property
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from worker.storage.answers import (
    NOT_A_STORE,
    TOO_LATE,
    Known,
    Problem,
    TooLate,
    answered,
    first_line,
    unreachable,
)
from worker.storage.base import clock_s
from worker.storage.one_by_one import PARALLEL
from worker.storage_url import BucketURL, normalised_host

_BUSY = ("SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "TooManyRequests", "Throttling")
_GONE = ("NoSuchKey", "NoSuchVersion")
# Refusals that concern the bucket or the credentials, not a single object.
_EVERYWHERE = (
    *("NoSuchBucket", "InvalidBucketName", "AllAccessDisabled", "PermanentRedirect", "AccountProblem"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"),
)
_SET_BOTH = "one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is missing, set both or neither"
_SET_SOME = "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_send_until: ContextVar[float] = ContextVar("send_until", default=math.inf)


class S3Client:
    """The two clients of one location, created at the first use.

    `ask` repeats a request that failed; `once` never does.  A delete is repeated only from its row, which
    pushes can read.
    """

    def __init__(self, url: BucketURL) -> None:
        self.url = url
        self.prefix = f"{url.prefix}/" if url.prefix else ""

    def key(self, path: str) -> dict[str, str]:
        """Return the arguments that name an object."""
        return {"Bucket": self.url.bucket, "Key": self.prefix + path}

    def head(self, path: str, version: str = "") -> dict[str, Any] | None:
        """Return the store's description of an object, or None if there is no such object.

        A store answers 404 for a missing bucket, too, and gives the reason only in a body, which the answer
        to a HEAD lacks; so a GET follows a 404.  Raises the client's errors.
        """
        named = self.key(path) | ({"VersionId": version} if version else {})
        try:
            found: dict[str, Any] = self.ask.head_object(**named)
            return found
        except boto.ClientError as error:
            if _status(error) not in (404, 405):  # 405: the version is a delete marker
                raise
        try:
            self.ask.get_object(**named, Range="bytes=0-0")["Body"].close()
        except boto.ClientError as error:
            if classify(error).known is Known.GONE:
                return None
            raise
        again: dict[str, Any] = self.ask.head_object(**named)
        return again

    @cached_property
    def ask(self) -> Any:
        """Return the client for requests that may be repeated."""
        return self._connect(attempts=3)

    @cached_property
    def once(self) -> Any:
        """Return the client for deletes, which sends a request once, and never after its time."""
        client = self._connect(attempts=1)
        client.meta.events.register("before-send.s3", _refuse_late)
        client.meta.events.register("before-sign.s3.DeleteObjects", _use_md5)
        return client

    @cached_property
    def address(self) -> str:
        """Return where the bucket is; equal for all of Amazon's endpoints, as bucket names are unique."""
        host = normalised_host(str(self.ask.meta.endpoint_url))
        for cloud in ("amazonaws.com", "amazonaws.com.cn"):
            if host.endswith(f".{cloud}"):
                host = cloud
        return f"s3://{host}/{self.url.bucket}/{self.url.prefix}".rstrip("/")

    @cached_property
    def _session(self) -> Any:
        file, profile = self.url.credentials_file, self.url.options.get("profile")
        core = Session(profile=profile or ("default" if file else None))
        # Amazon's other tools read AWS_REGION; its Python client reads only AWS_DEFAULT_REGION.
        core.session_var_map["region"] = ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)
        if file:
            core.set_config_variable("credentials_file", file)
            # The credentials in the environment and the machine's role are those of other locations.
            resolver = core.get_component("credential_provider")
            resolver.providers = [p for p in resolver.providers if p.METHOD == "shared-credentials-file"]
        core.register_component("data_loader", _descriptions(core.get_config_variable("data_path")))
        return boto3.session.Session(botocore_session=core)

    def _connect(self, *, attempts: int) -> Any:
        url = self.url
        virtual = url.flag("virtual_host")
        style = "auto" if virtual is None and not url.endpoint else "virtual" if virtual else "path"
        return self._session.client(
            "s3",
            endpoint_url=url.endpoint,
            region_name=url.options.get("region") or self._session.region_name or "us-east-1",
            config=Config(
                connect_timeout=min(url.timeout_s, 5),
                read_timeout=url.timeout_s,
                max_pool_connections=PARALLEL * PARALLEL,
                retries={"total_max_attempts": attempts, "mode": "standard"},
                s3={"addressing_style": style},
                # Other stores do not support the checksums that Amazon added later.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@cache
def _descriptions(data_path: str | None) -> Any:
    """Return botocore's descriptions of S3; read once for all locations, because that takes 0.15 s."""
    return create_loader(data_path)


@contextmanager
def sending_until(until_s: float) -> Iterator[None]:
    """Make this thread's `once` client send nothing from this time of `clock_s` on."""
    token = _send_until.set(until_s)
    try:
        yield
    finally:
        _send_until.reset(token)


def _refuse_late(**_request: object) -> None:
    """Check the clock for the last time, after the request is signed and before its bytes are sent."""
    if clock_s() >= _send_until.get():
        raise TooLate


def _use_md5(request: Any, **_more: object) -> None:
    """Give a bulk delete an MD5 checksum, which every store supports, instead of a newer one."""
    newer = ("x-amz-checksum", "x-amz-sdk-checksum")
    for name in [name for name in request.headers if name.lower().startswith(newer)]:
        del request.headers[name]
    digest = hashlib.md5(request.data, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def classify(error: BaseException) -> Problem:
    """Return what is known about a request to S3 that raised this error."""
    if isinstance(error, TooLate):
        return TOO_LATE
    if isinstance(error, boto.ClientError):
        return _refusal(error)
    if isinstance(error, boto.PartialCredentialsError):
        return Problem(Known.REFUSED, _SET_BOTH, everywhere=True)
    if isinstance(error, boto.NoCredentialsError):
        return Problem(Known.REFUSED, _SET_SOME, everywhere=True)
    if isinstance(error, boto.ReadTimeoutError):
        return Problem(Known.UNCLEAR, f"the object store did not answer in time ({_host(error)})")
    if isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)):
        return Problem(Known.UNSENT, unreachable(_host(error)), everywhere=True)
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        message = f"the certificate of {_host(error)} is not trusted: name its CA's file in AWS_CA_BUNDLE"
        return Problem(Known.UNSENT, message, everywhere=True)
    if isinstance(error, (boto.ConnectionClosedError, ResponseParserError)):
        return Problem(Known.UNCLEAR, f"{first_line(error)}: {NOT_A_STORE}")
    if isinstance(error, boto.BotoCoreError) and not _was_sent(error):
        return Problem(Known.UNSENT, first_line(error), everywhere=True)
    return Problem(Known.UNCLEAR, first_line(error))


def _was_sent(error: boto.BotoCoreError) -> bool:
    return isinstance(error, (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError))


def _host(error: BaseException) -> str:
    facts = getattr(error, "kwargs", {})
    return normalised_host(str(facts.get("endpoint_url", ""))).partition("/")[0] or type(error).__name__


def error_of_key(code: str) -> Problem:
    """Return what is known about one key of a bulk delete from its error code in the answer."""
    message = f"the object store answered {code or 'an error without a code'}"
    if code in _GONE:
        return Problem(Known.GONE, message, code)
    if code in _BUSY:
        return Problem(Known.BUSY, message, code)
    return Problem(Known.UNCLEAR if code == "InternalError" else Known.REFUSED, message, code)


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _refusal(error: boto.ClientError) -> Problem:
    status = _status(error)
    code = str(error.response.get("Error", {}).get("Code") or "")
    message = answered(status, code)
    if code in _GONE:
        return Problem(Known.GONE, message, code)
    if status == 429 or code in _BUSY:
        return Problem(Known.BUSY, message, code, everywhere=True)
    # After a gateway's timeout the server behind it may still carry out the request.
    if status >= 500 and status != 501:
        return Problem(Known.UNCLEAR, message, code)
    return Problem(Known.REFUSED, message, code, everywhere=code in _EVERYWHERE)
