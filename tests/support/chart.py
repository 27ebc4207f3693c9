"""The part of Helm's templates that our chart uses: values, `quote`, and `toYaml … | nindent N`."""

from __future__ import annotations

import re
from typing import Any

import yaml

_ACTION = re.compile(r"(?P<trim>\s*)\{\{(?P<dash>-?)\s*(?P<body>[^}]+?)\s*\}\}")
_TO_YAML = re.compile(r"toYaml (\S+) \| nindent (\d+)")


def render(template: str, scope: dict[str, Any]) -> str:
    """Return the template with its actions replaced.  Raises `ValueError` for an unsupported action.

    `scope` has `Values`, `Release` and `Chart`.
    """

    def replaced(action: re.Match[str]) -> str:
        before = "" if action["dash"] else action["trim"]
        return before + _evaluate(action["body"], scope)

    return _ACTION.sub(replaced, template)


def _evaluate(body: str, scope: dict[str, Any]) -> str:
    if block := _TO_YAML.fullmatch(body):
        indent = "\n" + " " * int(block[2])
        text = yaml.safe_dump(_lookup(block[1], scope), sort_keys=False).rstrip()
        return indent + str(text).replace("\n", indent)
    path, _, function = body.partition(" | ")
    if function not in ("", "quote"):
        raise ValueError(f"the test knows no {function}")
    value = str(_lookup(path, scope))
    return f'"{value}"' if function else value


def _lookup(path: str, scope: dict[str, Any]) -> Any:
    if not path.startswith("."):
        raise ValueError(f"the test knows no {path}")
    found: Any = scope
    for name in path[1:].split("."):
        if name not in found:
            raise ValueError(f"the values have no {path}")
        found = found[name]
    return found
