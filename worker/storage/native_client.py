"""Open Google Cloud Storage and Azure Blob Storage through `obstore`, and classify its errors.

The library reports errors as text, which may change, so `setup.cfg` bounds its version.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore

from worker.storage.answers import Known, Problem, answered, attempt, first_line, unreachable
from worker.storage.base import StoreUnavailable
from worker.storage_url import BucketURL, normalised_host

Bucket = AzureStore | GCSStore
_STATUS = re.compile(r"status code: (\d{3})|status: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]+)</Code>")
_HOST = re.compile(r"https?://[^/\s\"]+")
_EVERYWHERE = (
    "NoSuchBucket",
    "ContainerNotFound",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AccountIsDisabled",
)
# Servers that the library asks for the machine's role if no credentials are set.
_METADATA_SERVICE = re.compile(r"://169\.254\.|://metadata(?:\.google\.internal)?[:/]")
_CONNECTION_STRING = {
    "accountname": "account_name",
    "accountkey": "account_key",
    "sharedaccesssignature": "sas_key",
    "blobendpoint": "endpoint",
}
_NO_CREDENTIALS = "there are no credentials: name a file in the location's credentials_file"


def connect(url: BucketURL, *, retries: int) -> Bucket:
    """Return a client for the bucket.  Raises `StoreUnavailable` if its credentials cannot be read."""
    common: dict[str, Any] = {
        "prefix": url.prefix or None,
        "client_options": {
            "allow_http": True,
            "timeout": timedelta(seconds=url.timeout_s),
            "connect_timeout": timedelta(seconds=min(url.timeout_s, 5)),
        },
        "retry_config": {"max_retries": retries, "retry_timeout": timedelta(seconds=3 * url.timeout_s)},
    }
    config: dict[str, Any] = _google(url) if url.scheme == "gs" else _azure(url)
    kind = GCSStore if url.scheme == "gs" else AzureStore
    made = attempt(lambda: kind(url.bucket, **config, **common), classify)
    if isinstance(made, Problem):
        raise StoreUnavailable(f"{url}: {made.message}")
    return made


def address(url: BucketURL) -> str:
    """Return where the bucket is, without credentials."""
    if url.scheme == "gs":
        host = url.endpoint or _google(url).get("base_url") or "https://storage.googleapis.com"
    else:
        options = _azure(url)
        host = options.get("endpoint") or f"https://{options['account_name']}.blob.core.windows.net"
    return f"{url.scheme}://{normalised_host(host)}/{url.bucket}/{url.prefix}".rstrip("/")


def _google(url: BucketURL) -> dict[str, str]:
    config = {"base_url": url.endpoint} if url.endpoint else {}
    if url.credentials_file:
        try:
            found = dict(json.loads(_content(url)))
        except (ValueError, TypeError):
            raise StoreUnavailable(
                f"{url}: {url.credentials_file} is not a Google key file in JSON"
            ) from None
        user = found.get("type") == "authorized_user"
        config["application_credentials" if user else "service_account"] = url.credentials_file
        if "gcs_base_url" in found:
            config.setdefault("base_url", str(found["gcs_base_url"]))
    return config


def _azure(url: BucketURL) -> dict[str, str]:
    """Return the options of the account in the credentials file, a connection string as Azure shows it."""
    config: dict[str, str] = {}
    if url.credentials_file:
        config = _connection_string(_content(url))
    if "account" in url.options:
        config["account_name"] = url.options["account"]
    if url.endpoint:
        config["endpoint"] = url.endpoint
    if "account_name" not in config:
        where = f"give account in its URL, or AccountName in {url.credentials_file or 'its credentials_file'}"
        raise StoreUnavailable(f"{url}: there is no storage account: {where}")
    return config


def _connection_string(text: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in text.replace("\n", ";").split(";"))
    given = {name.strip().lower(): value.strip() for name, _, value in pairs if value}
    config = {ours: given[theirs] for theirs, ours in _CONNECTION_STRING.items() if theirs in given}
    if "endpoint" not in config and "endpointsuffix" in given and "account_name" in config:
        scheme = given.get("defaultendpointsprotocol", "https")
        config["endpoint"] = f"{scheme}://{config['account_name']}.blob.{given['endpointsuffix']}"
    return config


def _content(url: BucketURL) -> str:
    try:
        return Path(str(url.credentials_file)).read_text()
    except OSError as error:
        what = f"{url}: {url.credentials_file} cannot be read ({error.strerror})"
        raise StoreUnavailable(what) from None


def classify(error: BaseException) -> Problem:
    """Return what is known about a request that raised this error."""
    text = str(error)
    if isinstance(error, StoreUnavailable):
        return Problem(Known.UNSENT, text, everywhere=True)
    if _METADATA_SERVICE.search(text):
        return Problem(Known.REFUSED, _NO_CREDENTIALS, everywhere=True)
    status, code = _STATUS.search(text), _CODE.search(text)
    name = code.group(1) if code else ""
    if isinstance(error, FileNotFoundError):
        if name in _EVERYWHERE:
            return Problem(Known.REFUSED, answered(404, name), name, everywhere=True)
        return Problem(Known.GONE, "there is no such object", name)
    if status:
        return _answer(int(status.group(1) or status.group(2)), name)
    if isinstance(error, PermissionDeniedError):
        return Problem(Known.REFUSED, answered(403, name), name, everywhere=name in _EVERYWHERE)
    if isinstance(error, UnauthenticatedError):
        return Problem(Known.REFUSED, answered(401, name), name, everywhere=True)
    if "kind: Connect" in text:
        return Problem(Known.UNSENT, unreachable(_host(text)), everywhere=True)
    if "kind: Timeout" in text:
        return Problem(Known.UNCLEAR, f"the object store did not answer in time ({_host(text)})")
    return Problem(Known.UNCLEAR, first_line(error))


def _answer(status: int, code: str) -> Problem:
    message = answered(status, code)
    if status == 404 and code not in _EVERYWHERE:
        return Problem(Known.GONE, message, code)
    # Both vendors answer 503 to ask for fewer requests; a 503 without their code comes from a gateway.
    if status == 429 or (status == 503 and code):
        return Problem(Known.BUSY, message, code, everywhere=True)
    if status >= 500 and status != 501:
        return Problem(Known.UNCLEAR, message, code)
    return Problem(Known.REFUSED, message, code, everywhere=code in _EVERYWHERE)


def _host(text: str) -> str:
    found = _HOST.search(text)
    return urlsplit(found.group(0)).netloc if found else "?"
