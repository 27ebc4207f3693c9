"""Lists of IDs as parameters of a statement."""

from __future__ import annotations

from collections.abc import Iterable


class IntArray:
    """Ids as one `'{1,2,3}'::int[]` literal: the server parses it far faster than `ARRAY[…]`.

    The element type is the column's: a comparison across types cannot be hashed.
    """

    type = "int"

    def __init__(self, values: Iterable[int]) -> None:
        self.literal = "'{" + ",".join(map(int.__repr__, values)) + f"}}'::{self.type}[]"

    def getquoted(self) -> bytes:
        """psycopg2's hook for client-side parameters."""
        return self.literal.encode()

    def __conform__(self, protocol: object) -> IntArray:
        return self


class BigIntArray(IntArray):
    """The same for `bigint` columns."""

    type = "bigint"
