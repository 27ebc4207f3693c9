"""SQL has one form: text that is longer than a line is one triple-quoted string, and nothing edits it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [path for path in sorted((ROOT / "model").rglob("*.py")) if "migrations" not in path.parts]
# A list of a WITH clause, and a join of two tables or lists, each perhaps with another name.
_LIST = re.compile(r"\b(\w+)(?: \([\w, ]+\))? AS(?: MATERIALIZED)? \(")
_JOIN = re.compile(r"(?=\b(\w+)(?: (?!ON\b)\w+)?\s+(?:LEFT )?JOIN\s+(\w+)\b)")
_SQL = re.compile(r"\b(SELECT\b.+\bFROM|INSERT INTO|DELETE FROM|UPDATE \w+ SET|EXISTS \()", re.DOTALL)


def _trees() -> Iterator[tuple[str, list[str], ast.Module]]:
    for path in SOURCES:
        text = path.read_text()
        yield str(path.relative_to(ROOT)), text.split("\n"), ast.parse(text)


def _strings(node: ast.AST) -> Iterator[ast.expr]:
    """Every string of the code, an f-string as one."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.JoinedStr | ast.Constant):
            yield child
        else:
            yield from _strings(child)


def _source(lines: list[str], node: ast.expr) -> str:
    """The whole lines on which the node is."""
    return "\n".join(lines[node.lineno - 1 : node.end_lineno])


def test_no_statement_is_put_together_from_strings_of_one_line() -> None:
    glued = [
        f"{name}:{string.lineno}"
        for name, lines, tree in _trees()
        for string in _strings(tree)
        if string.end_lineno != string.lineno
        and '"""' not in (source := _source(lines, string))
        and _SQL.search(source)
    ]
    assert glued == []


def test_no_statement_is_edited() -> None:
    edited = [
        f"{name}:{call.lineno} {ast.unparse(call.func)}"
        for name, _, tree in _trees()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("replace", "format", "removesuffix")
        and re.search(r"\b_?[A-Z][A-Z_]+$|sql", ast.unparse(call.func.value))
    ]
    assert edited == []


def lists_joined(sql: str) -> list[str]:
    lists = set(_LIST.findall(sql))
    return [f"{one} with {other}" for one, other in _JOIN.findall(sql) if {one, other} <= lists]


def test_no_statement_joins_two_lists_whose_length_the_server_cannot_know() -> None:
    """Before PostgreSQL 18 the server compares each row of one list with each of the other."""
    joined = [
        f"{name}:{string.lineno} {found}"
        for name, lines, tree in _trees()
        for string in _strings(tree)
        if string.end_lineno != string.lineno
        for found in lists_joined(_source(lines, string))
    ]
    assert joined == []
    two = "WITH dead AS MATERIALIZED (SELECT 1 AS id), places (id) AS (SELECT 2) SELECT FROM {} JOIN {}"
    assert lists_joined(two.format("places p", "dead d ON d.id = p.id")) == ["places with dead"]
    assert lists_joined(two.format("places p", "manifest m ON m.id = p.id")) == []
