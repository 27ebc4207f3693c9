"""The result of a sweep over one kind, such as rows of one table or objects of one location."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Swept:
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

    def plus(self, looked: int, suspects: int, confirmed: int, put_back: int = 0) -> Swept:
        """Return the result with another slice added."""
        return replace(
            self,
            looked=self.looked + looked,
            suspects=self.suspects + suspects,
            confirmed=self.confirmed + confirmed,
            put_back=self.put_back + put_back,
        )
