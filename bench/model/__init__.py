"""An executable model of the protocol, and schedules of it: `python -m bench model`.

Read `operations`, `database`, `world`, `protocol`, `collecting`, `run`, `stories`, `explorer`, in this order.
"""

from bench.model.figures import run

__all__ = ["run"]
