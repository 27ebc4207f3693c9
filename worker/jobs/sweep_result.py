"""What a sweep did with one kind of thing."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Swept:
    """What one turn did with one kind; `has_more` where its pass is not over.

    `put_back` are objects of the trash that a row refers to.
    """

    kind: str
    looked: int = 0
    suspects: int = 0
    confirmed: int = 0
    put_back: int = 0
    has_more: bool = False
    error: str | None = None

    def plus(self, looked: int, suspects: int, confirmed: int, put_back: int = 0) -> Swept:
        """With another slice."""
        return replace(
            self,
            looked=self.looked + looked,
            suspects=self.suspects + suspects,
            confirmed=self.confirmed + confirmed,
            put_back=self.put_back + put_back,
        )
