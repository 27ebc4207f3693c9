"""The application with a store that is slow: `celery -A tests.outages.apps`.

`ERASE_FLAG` names a file that is made when an erase begins; it takes `ERASE_S` before and after.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

from worker import application as application
from worker.storage.base import Erased
from worker.storage.local import LocalStore

_erase = LocalStore.erase


def _slowly(store: LocalStore, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
    Path(os.environ["ERASE_FLAG"]).touch()
    time.sleep(float(os.environ["ERASE_S"]))
    erased = _erase(store, paths, until_s=until_s)
    time.sleep(float(os.environ["ERASE_S"]))
    return erased


LocalStore.erase = _slowly  # type: ignore[method-assign,assignment]
