"""An executable model of the protocol, and schedules of it: `python -m bench model`.

Read the modules in this order: `operations`, `database`, `world`, `rules`, `push`, `erase`, `collecting`,
`run`, `stories`, `explorer`.
"""

from bench.model.figures import run

__all__ = ["run"]
