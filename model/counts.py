"""Results of work that add, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self


@dataclass(frozen=True)
class Counts:
    """Base of frozen results: `+` adds numbers and tuples, and merges mappings.

    Flags and texts describe the state after the work, so the sum has those of the later result.
    """

    def __add__(self, later: Self) -> Self:
        both = {each.name: (getattr(self, each.name), getattr(later, each.name)) for each in fields(self)}
        return replace(self, **{name: _add(*values) for name, values in both.items()})


def _add(earlier: Any, later: Any) -> Any:
    if isinstance(later, Mapping):
        return {**earlier, **later}
    if isinstance(later, int | tuple) and not isinstance(later, bool):
        return earlier + later
    return later
