"""Parse the URL of a bucket: `s3://`, `gs://` or `az://`, with the options of each scheme."""

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
    if unknown or not parts.netloc:
        what = f"A storage URL is {scheme}://bucket/prefix with {', '.join(known)}"
        raise BadInput(what, wrong=unknown or "no bucket")
    folders = [folder for folder in unquote(parts.path).split("/") if folder]
    endpoint = options.get("endpoint", "https://host")
    if urlsplit(endpoint).scheme not in _DEFAULT_PORT or "@" in endpoint:
        raise BadInput("The storage URL's endpoint must start with http:// or https://, without a password")
    return BucketURL(scheme, parts.netloc, "/".join(folders), MappingProxyType(options))


def normalised_host(url: str) -> str:
    """Return host, port and path of an endpoint in one spelling, without the scheme's default port."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, _DEFAULT_PORT.get(parts.scheme)) else f":{parts.port}"
    return f"{(parts.hostname or '').rstrip('.')}{port}{parts.path.rstrip('/')}"
