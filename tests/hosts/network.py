"""Hosts as network namespaces on one bridge, and what a network does to them.

Nothing of the machine's own network is touched: the bridge has a namespace of its own, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

SUBNET = "10.77.0"


def can_make_hosts() -> str:
    """Why there can be no hosts here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "iptables", "tc") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} is not installed"
    name = f"dredge-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return "no network namespace can be made here"
    _run("ip", "netns", "delete", name)
    return ""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Host:
    """A namespace with one address; its own rules say what reaches it and what leaves it."""

    namespace: str
    address: str

    @property
    def exec(self) -> list[str]:
        """What comes before a command that runs there."""
        return ["ip", "netns", "exec", self.namespace]

    def _rule(self, *rule: str) -> None:
        _run(*self.exec, "iptables", "-w", *rule)

    def cut(self, *others: Host) -> None:
        """Let nothing through between it and these hosts, or anybody."""
        for address in [other.address for other in others] or [f"{SUBNET}.0/24"]:
            self._rule("-A", "OUTPUT", "-d", address, "-j", "DROP")
            self._rule("-A", "INPUT", "-s", address, "-j", "DROP")

    def block_answers_from(self, *others: Host) -> None:
        """What it sends arrives; of the answers none does."""
        for other in others:
            self._rule("-A", "INPUT", "-s", other.address, "-j", "DROP")

    def swallow(self, text: str) -> None:
        """Lose what it sends wherever this text stands in it, also when it is sent again."""
        self._rule("-A", "OUTPUT", "-m", "string", "--algo", "bm", "--string", text, "-j", "DROP")

    def lose(self, share: float) -> None:
        """Lose this share of the packets that come in."""
        chance = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        self._rule("-A", "INPUT", *chance, "-j", "DROP")

    def slow(self, rate: str, latency: str) -> None:
        """Let packets out at this rate; those that would wait longer than `latency` are lost."""
        queue = ["tbf", "rate", rate, "burst", "3kb", "latency", latency]
        _run(*self.exec, "tc", "qdisc", "add", "dev", "eth0", "root", *queue)

    def restore(self) -> None:
        """As if nothing had been."""
        self._rule("-F")
        with suppress(subprocess.CalledProcessError):  # where nothing was slow
            _run(*self.exec, "tc", "qdisc", "delete", "dev", "eth0", "root")


class Network:
    """One bridge and its hosts; use it as a context."""

    def __init__(self, names: Sequence[str]) -> None:
        self._prefix = f"dredge{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self.hosts = {
            name: Host(f"{self._prefix}-{name}", f"{SUBNET}.{number}") for number, name in enumerate(names, 2)
        }

    def __enter__(self) -> Network:
        try:
            _run("ip", "netns", "add", self._switch)
            _run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", "bridge", "up")
            for number, host in enumerate(self.hosts.values()):
                self._plug(host, f"port{number}")
        except BaseException:
            self.remove()
            raise
        return self

    def _plug(self, host: Host, port: str) -> None:
        peer = ["peer", "name", "eth0", "netns", host.namespace]
        _run("ip", "netns", "add", host.namespace)
        _run("ip", "-n", self._switch, "link", "add", port, "type", "veth", *peer)
        _run("ip", "-n", self._switch, "link", "set", port, "master", "bridge", "up")
        _run("ip", "-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", host.namespace, "link", "set", device, "up")

    def restore(self) -> None:
        """Restore every host."""
        for host in self.hosts.values():
            host.restore()

    def remove(self) -> None:
        """Remove what this network made."""
        for namespace in (*(host.namespace for host in self.hosts.values()), self._switch):
            with suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", namespace)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
