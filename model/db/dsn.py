"""A PostgreSQL URL as libpq reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg2
from psycopg2.extensions import parse_dsn

from model.errors import BadInput

SCHEMES = ("postgresql", "postgres")
DEFAULT_SEARCH_PATH = "public"

# `-c name=value`, `-cname=value` or `--name=value`; a backslash keeps a space inside a word.
_WORD = re.compile(r"(?:\\.|\S)+", re.DOTALL)
_UNREADABLE = "is not a URL that libpq reads: percent-encode special characters in its user and password"


@dataclass(frozen=True)
class Dsn:
    """Where the database is, and the parameters that its URL sets with `options=`.

    `parameters` are libpq's keywords without `dbname` and `options`; they may hold a password.
    """

    database: str
    parameters: dict[str, str] = field(repr=False)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def search_path(self) -> str:
        """Return the schemas in the URL, or `public`, as a value of the parameter `search_path`."""
        return self.settings.get("search_path", DEFAULT_SEARCH_PATH)

    @property
    def place(self) -> str:
        """Return hosts and ports for messages, without user and password."""
        hosts = (self.parameters.get("host") or self.parameters.get("hostaddr") or "localhost").split(",")
        ports = self.parameters.get("port", "").split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        pairs = zip(hosts, ports, strict=False)
        return ",".join(f"{host}:{port}" if port else host for host, port in pairs)


def parse(url: str) -> Dsn:
    """Read `postgresql://user:password@host:port,host:port/database?sslmode=…&options=…`.

    Raises `BadInput`; its message never holds a part of the URL, which may be a password.
    """
    if url.partition("://")[0] not in SCHEMES:
        raise BadInput(f"must be a URL that starts with {' or '.join(f'{name}://' for name in SCHEMES)}")
    try:
        found: dict[str, str] = parse_dsn(url)
    except psycopg2.Error:
        # libpq's own message would quote the part that it does not understand, which may be a password.
        raise BadInput(_UNREADABLE) from None
    if not all(port.isdigit() for port in found.get("port", "").split(",") if port):
        raise BadInput(_UNREADABLE)  # A slash in a password ends the host early.
    database = found.pop("dbname", "")
    if not database and "service" not in found:
        raise BadInput("names no database: postgresql://user@host:5432/database")
    settings = dict(_settings(found.pop("options", "")))
    if "," in found.get("host", found.get("hostaddr", "")):
        # Of several hosts, connect to the one that takes writes; a standby answers every write with an error.
        found.setdefault("target_session_attrs", "read-write")
    return Dsn(database, found, settings)


def _settings(options: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters that `options` sets, split as the server does."""
    words = iter(re.sub(r"\\(.)", r"\1", word) for word in _WORD.findall(options))
    for word in words:
        text = next(words, "") if word == "-c" else word.removeprefix("--" if word[:2] == "--" else "-c")
        name, separator, value = text.partition("=")
        if not separator or not word.startswith(("-c", "--")):
            raise BadInput("may only set parameters with options=, as in options=-csearch_path%3Dquay")
        yield name.replace("-", "_").lower(), value
