"""Parse the URL of a storage location: a path, `file://`, `s3://`, `gs://` or `az://`, with its options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote, urlsplit

from model.errors import BadInput

_EVERYWHERE = ("endpoint", "timeout", "credentials_file")
_KNOWN = {
    "s3": (*_EVERYWHERE, "region", "virtual_host", "profile"),
    "gs": _EVERYWHERE,
    "az": (*_EVERYWHERE, "account"),
}
SCHEMES = tuple(_KNOWN)
# The names that stores accept; also an access point of AWS.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}|arn:[A-Za-z0-9:_-]+")
_SECRET = re.compile(r"key|secret|token|password|sas|sig", re.IGNORECASE)
_TRUE, _FALSE = ("on", "1", "true", "yes"), ("off", "0", "false", "no")
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True)
class BucketURL:
    """`scheme://bucket/prefix?options`.  Never contains a secret; it may name a file with credentials."""

    scheme: str
    bucket: str
    prefix: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def timeout_s(self) -> float:
        """Return how many seconds a request waits for an answer."""
        text = self.options.get("timeout", "30")
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0
        if not 0 < seconds <= 3600:
            raise BadInput("The storage URL's timeout must be seconds between 0 and 3600", timeout=text)
        return seconds

    @property
    def endpoint(self) -> str | None:
        """Return the server's URL if it is not the vendor's default."""
        return self.options.get("endpoint")

    @property
    def credentials_file(self) -> str | None:
        """Return the file with this location's credentials."""
        return self.options.get("credentials_file")

    def flag(self, name: str) -> bool | None:
        """Return whether an option is on or off; None if it is not given."""
        if name not in self.options:
            return None
        word = self.options[name].lower()
        if word not in _TRUE + _FALSE:
            raise BadInput(f"The storage URL's {name} must be on or off", given=word)
        return word in _TRUE

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True)
class LocalURL:
    """A directory of this machine; `fsync`: written files survive a power cut."""

    path: str
    fsync: bool = True


def parse_storage_url(url: str) -> BucketURL | LocalURL:
    """Parse a location's URL or path.  Raises `BadInput`, without text that may contain a secret."""
    if not url or not url.isprintable():
        raise BadInput("A storage URL must have text, without control characters")
    scheme = url.partition("://")[0] if "://" in url else "file"
    try:
        if scheme == "file":
            return _parse_local(url)
        if scheme in _KNOWN:
            return parse_bucket_url(url)
    except ValueError as error:
        # urlsplit refuses brackets without an address, and a port that is no number.
        raise BadInput(f"The storage URL cannot be read: {error}") from None
    raise BadInput(f"A storage URL must be a path or start with file or {', '.join(SCHEMES)}", scheme=scheme)


def _parse_local(url: str) -> LocalURL:
    if "://" not in url:
        return LocalURL(url)
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or not path.isprintable():
        raise BadInput("A file URL is file:///path with three slashes; the path is on this machine")
    synced = dict(parse_qsl(parts.query)).get("fsync", "on") not in ("off", "0", "false", "no")
    return LocalURL(path, fsync=synced)


def parse_bucket_url(url: str) -> BucketURL:
    """Parse a bucket's URL.  Raises `BadInput`, without the URL's text if it may contain a secret."""
    parts = urlsplit(url)
    scheme, known = parts.scheme, _KNOWN[parts.scheme]
    if "@" in parts.netloc:
        raise BadInput("A storage URL must not contain a password: name a file in credentials_file instead")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - set(known))
    if any(_SECRET.search(name) for name in unknown):
        raise BadInput(
            "A storage URL must not contain keys: name a file in credentials_file instead", wrong=unknown
        )
    if unknown or not _BUCKET.fullmatch(parts.netloc):
        what = f"A storage URL is {scheme}://bucket/prefix with {', '.join(known)}"
        raise BadInput(what, wrong=unknown or "the bucket's name")
    _check_endpoint(options.get("endpoint", "https://host"))
    folders = [folder for folder in unquote(parts.path).split("/") if folder]
    if not all(map(str.isprintable, folders)) or {".", ".."} & set(folders):
        raise BadInput("A storage URL's prefix must not have . or .. or control characters in it")
    found = BucketURL(scheme, parts.netloc, "/".join(folders), MappingProxyType(options))
    _ = found.timeout_s, found.flag("virtual_host")  # Raises for a wrong value.
    return found


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in _DEFAULT_PORT or "@" in endpoint or not parts.hostname or parts.port == 0:
        raise BadInput("The storage URL's endpoint must be http://host or https://host, without a password")


def normalised_host(url: str) -> str:
    """Return host, port and path of an endpoint in one spelling, without the scheme's default port."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, _DEFAULT_PORT.get(parts.scheme)) else f":{parts.port}"
    return f"{(parts.hostname or '').rstrip('.')}{port}{parts.path.rstrip('/')}"
