"""What a role must be granted where PostgreSQL says "permission denied" (SQLSTATE 42501)."""

from __future__ import annotations

import re

import psycopg2

DENIED = "42501"
# PostgreSQL names the object, and not the right: the statement that it refused says which one it needs.
_DENIED = re.compile(r"permission denied for (table|view|relation|sequence|schema|function) (\S+)")
_RIGHTS = {"sequence": "USAGE", "schema": "USAGE", "function": "EXECUTE"}
_NEEDS = {
    "INSERT": r"\bINSERT INTO {0}\b",
    "UPDATE": r"\bUPDATE (?:ONLY )?{0}\b",
    "DELETE": r"\bDELETE FROM (?:ONLY )?{0}\b",
    "SELECT": r"(?<!DELETE )(?:FROM|JOIN|USING)\s+(?:ONLY )?{0}\b",
}
_LOCKS = re.compile(r"\bFOR (?:NO KEY |KEY )?(?:UPDATE|SHARE)\b")

# The text of each prepared statement by its name, because an EXECUTE names no table.
_prepared: dict[str, str] = {}


def remember(name: str, sql: str) -> None:
    """Remember the text of a prepared statement."""
    _prepared[name] = sql


def describe(error: object) -> str | None:
    """Return which right the role lacks and how to grant it; None for another error, or an unknown object."""
    if not isinstance(error, psycopg2.Error) or error.pgcode != DENIED:
        return None
    text = str(error).strip().partition("\n")[0]
    found = _DENIED.search(text)
    if found is None:
        return None
    kind, name = found.groups()
    role = error.cursor.connection.info.user if error.cursor is not None else "that is used"
    rights = _RIGHTS.get(kind) or ", ".join(_needed(error, name))
    object_ = quoted(name) if kind not in _RIGHTS else f"{kind.upper()} {quoted(name)}"
    return (
        f"The role {role} lacks {rights} on {kind} {name}:"
        f" GRANT {rights} ON {object_} TO {quoted(role)}; deploy/roles.sql grants all that Dredge's own need"
    )


def quoted(name: str) -> str:
    """Return a name as a quoted identifier, because it may be a word of SQL."""
    return f'"{name}"'


def _needed(error: psycopg2.Error, table: str) -> list[str]:
    """Return the rights on the table that the refused statement uses, also one that a trigger ran."""
    sql = _statement(error)
    place = rf'(?:"?\w+"?\.)?"?{re.escape(table)}"?'
    found = [right for right, pattern in _NEEDS.items() if re.search(pattern.format(place), sql, re.S | re.I)]
    if "SELECT" in found and "UPDATE" not in found and _LOCKS.search(sql):
        found.append("UPDATE")
    # Rows that a change chooses are read.
    return found if found == ["INSERT"] or "SELECT" in found else [*found, "SELECT"]


def _statement(error: psycopg2.Error) -> str:
    query = getattr(error.cursor, "query", None) or b""
    sql = query.decode(errors="replace")
    name = sql.partition(" ")[2].partition(" ")[0] if sql.startswith("EXECUTE ") else ""
    return f"{_prepared.get(name, sql)}\n{error.diag.context or ''}"
