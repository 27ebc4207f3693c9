"""Write a row in every table of a full Quay database that belongs to a repository or a namespace."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from tests.support.quay import FACTS
from tests.support.rows import timestamp
from tests.support.world import World

_numbers = itertools.count(1)


def fill(world: World, table: str, **known: int) -> int:
    """Insert a row with these references, and create the other rows that it must reference."""
    row: dict[str, Any] = dict(known)
    references = dict(map(tuple, FACTS[table]["references"]))
    for column in FACTS[table]["columns"]:
        name, type, nullable = column[:3]
        if name == "id" or name in row or nullable:
            continue
        target = references.get(name)
        row[name] = _first(world, target, known) if target else _value(type)
    return world.insert(table, **row)


def fill_all(world: World, root: str, root_id: int, *, but: set[str]) -> dict[str, list[int]]:
    """Insert a row for each column of any table that references `root`.  Returns {table: IDs}."""
    made: dict[str, list[int]] = {}
    for table, facts in FACTS.items():
        for column, target in facts["references"]:
            if target == root and table not in but:
                made.setdefault(table, []).append(fill(world, table, **{column: root_id}))
    return made


def _first(world: World, table: str, known: dict[str, int]) -> int:
    """Return any row of a lookup table, or a new row of another table, in the same repository."""
    if table == "repository":
        return known.get("repository_id") or int(world.repository())
    if table == "user":
        return int(world.namespace())
    inherited = {"repository_id": known["repository_id"]} if "repository_id" in known else {}
    columns = {column[0] for column in FACTS[table]["columns"]}
    found = world.value(f'SELECT min(id) FROM "{table}"') if "name" in columns else None
    usable = {name: value for name, value in inherited.items() if name in columns}
    return found or fill(world, table, **usable)


def _value(type: str) -> Any:
    if type.startswith("timestamp"):
        return timestamp(next(_numbers) * 1000)
    if type == "date":
        return timestamp(next(_numbers) * 86_400_000).date()
    if type in ("integer", "bigint", "smallint"):
        return next(_numbers)
    if type == "boolean":
        return False
    if type.startswith("double"):
        return 0.5
    return f"{uuid.uuid4()}"[:36]
