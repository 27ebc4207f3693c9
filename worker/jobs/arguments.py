"""What other services send, checked where it arrives: nothing of a wrong type gets any further."""

from __future__ import annotations

from model import repository as repositories
from model.errors import BadInput, NoSuchRepository
from model.names import parse_repository

LARGEST_ID = 2**31 - 1


def find_repository_id(value: object) -> int:
    """The id of a repository that is given by its id or as `namespace/name`.

    Raises `BadInput` for anything else and `NoSuchRepository`; only reads.
    """
    if isinstance(value, str):
        named = parse_repository(value)
        found = repositories.by_name(named.namespace, named.name)
    elif isinstance(value, int) and not isinstance(value, bool):
        found = repositories.by_id(value) if 0 < value <= LARGEST_ID else None
    else:
        raise BadInput(f"a repository is a number or namespace/name, not {type(value).__name__}")
    if found is None:
        raise NoSuchRepository(repository=str(value)[:100])
    return found.id
