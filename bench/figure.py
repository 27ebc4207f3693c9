"""One measured number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A number with its unit; `aim` is a text with the target."""

    bench: str
    figure: str
    value: float
    unit: str
    aim: str = field(default="", compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the four keys that scripts may rely on."""
        found = asdict(self)
        del found["aim"]
        return found | {"value": round(self.value, 6)}


@dataclass(frozen=True)
class Options:
    """The options of the command line; `seconds` bounds measurements that run for a fixed time."""

    manifests: int = 10_000
    seconds: float = 10.0
    seed: int = 1
    repositories: int = 20_000
