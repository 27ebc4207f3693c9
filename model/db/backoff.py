"""The backoff of a row that fails, and the part of its error that it keeps."""

from __future__ import annotations

ERROR_LIMIT = 500


def backoff_ms(failures: str, first: int | str, last: int | str) -> str:
    """Return the SQL of a delay in milliseconds: `first`, doubled by each of `failures`, at most `last`.

    `failures` is an expression; `first` and `last` are numbers or parameters.
    """
    return f"least({last}, {first} * power(2, least({failures}, 20)))::bigint"


def shortened(error: str) -> str:
    """Return the beginning of an error's text."""
    return error[:ERROR_LIMIT]
