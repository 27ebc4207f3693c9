"""The URL of a bucket: `s3://`, `gs://` or `az://`, with the options that each kind knows."""

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
_SECRET = re.compile(r"key|secret|token|password|sas|sig", re.IGNORECASE)
_TRUE, _FALSE = ("on", "1", "true", "yes"), ("off", "0", "false", "no")
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True)
class BucketURL:
    """`scheme://bucket/prefix?options`.  It never contains a secret: credentials are named, not written."""

    scheme: str
    bucket: str
    prefix: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def timeout_s(self) -> float:
        """How long one request may stay without an answer, seconds."""
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
        """The server's URL where it is not the vendor's own."""
        return self.options.get("endpoint")

    @property
    def credentials_file(self) -> str | None:
        """The file with this location's credentials."""
        return self.options.get("credentials_file")

    def flag(self, name: str) -> bool | None:
        """An option that is on or off; None where it is not given."""
        if name not in self.options:
            return None
        word = self.options[name].lower()
        if word not in _TRUE + _FALSE:
            raise BadInput(f"The storage URL's {name} must be on or off", given=word)
        return word in _TRUE

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def parse_bucket_url(url: str) -> BucketURL:
    """Read a bucket's URL; raises `BadInput`, without the URL's text where a secret may be in it."""
    parts = urlsplit(url)
    scheme, known = parts.scheme, _KNOWN[parts.scheme]
    if "@" in parts.netloc:
        raise BadInput("A storage URL has no user and password: name a file in credentials_file instead")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - set(known))
    if any(_SECRET.search(name) for name in unknown):
        raise BadInput("A storage URL has no secrets: name a file in credentials_file instead", wrong=unknown)
    if unknown or not parts.netloc:
        what = f"A storage URL is {scheme}://bucket/prefix with {', '.join(known)}"
        raise BadInput(what, wrong=unknown or "no bucket")
    folders = [folder for folder in unquote(parts.path).split("/") if folder]
    endpoint = options.get("endpoint", "https://host")
    if urlsplit(endpoint).scheme not in _DEFAULT_PORT or "@" in endpoint:
        raise BadInput("The storage URL's endpoint starts with http:// or https:// and has no password")
    return BucketURL(scheme, parts.netloc, "/".join(folders), MappingProxyType(options))


def normalised_host(url: str) -> str:
    """Host, port and path of an endpoint in one spelling; the scheme's own port is left out."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, _DEFAULT_PORT.get(parts.scheme)) else f":{parts.port}"
    return f"{(parts.hostname or '').rstrip('.')}{port}{parts.path.rstrip('/')}"
