"""An application whose collections of `FATAL` end in an error that would end their process."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.worker.broker.poisoned import before_each_batch
from worker import application

__all__ = ["application"]


class Panic(BaseException):
    """As a native library raises it: nobody catches it by its base class."""


def end(repository_ids: Sequence[int]) -> None:
    if int(os.environ["FATAL"]) in repository_ids:
        raise {"MemoryError": MemoryError, "Panic": Panic}[os.environ["FATAL_KIND"]]("no more")


before_each_batch(end)
