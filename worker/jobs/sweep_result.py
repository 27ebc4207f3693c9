"""The result of a sweep over one kind, such as rows of one table or objects of one location."""

from __future__ import annotations

from dataclasses import dataclass

from model.counts import Counts


@dataclass(frozen=True)
class Swept(Counts):
    """What one turn did with one kind; `has_more` is True if its pass is not over.

    `put_back` counts objects of the trash that a row references and that were put back.
    """

    kind: str
    looked: int = 0
    suspects: int = 0
    confirmed: int = 0
    put_back: int = 0
    has_more: bool = False
    error: str | None = None
