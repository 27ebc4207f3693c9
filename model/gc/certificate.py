"""Certificates: what a batch deleted, why each was dead, under which policy and window, by which task.

A certificate is written in the transaction of its batch.  `model.verify` reads it without this code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

from model.db.connection import transaction
from model.policy import Policy
from model.running_task import running_task

Stage = Literal["collect", "review", "purge"]

# The end time of a manifest that had no tag of its own: dead manifests held it, or nothing did.
NO_TAG = -(2**62)

# A part of a `WITH` clause.  It needs `closing (ms)`, the end of the batch, and the parameters of `seal`.
# A batch without dead manifests or blobs writes no certificate.
RECORDED = """
certified AS (
    INSERT INTO dredge_certificate (finished_ms, body, digests, sum)
    SELECT closing.ms, %(certificate)s, decode(%(digests)s, 'hex'), decode(%(sum)s, 'hex')
    FROM closing WHERE %(certificate)s <> ''
    RETURNING 1
)
"""

NOTHING = {"certificate": "", "digests": "", "sum": ""}

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")


class _Chain(threading.local):
    """The certificates of one thread: each has the SHA-256 of the one before it.

    Each thread has its own chain: with one common chain every batch would wait for the batch before it.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new chain, because it is unknown whether the last certificate was committed."""
        self.name = secrets.randbits(48)
        self.place = 0
        self.previous = ""


_chain = _Chain()
os.register_at_fork(after_in_child=_chain.restart)


@contextmanager
def certified_transaction() -> Iterator[None]:
    """Run the block in a transaction.  If it fails, or its commit has no answer, begin a new chain.

    A batch without a certificate then cannot hide that the one before it was perhaps not committed.
    """
    try:
        with transaction():
            yield
    except BaseException:
        _chain.restart()
        raise


def seal(
    stage: Stage,
    dead: Sequence[Sequence[int]],
    digests: Iterable[str],
    *,
    windows_ms: Mapping[int, int],
    policy: Policy,
    started_ms: int,
) -> dict[str, Any]:
    """Return the parameters of `RECORDED`, for a `certified_transaction`.

    Each item of `dead` has an id, the id of its repository, a number, and the ids of the manifests that
    held it.  The number is, for a manifest, when its last tag ended in milliseconds (`NO_TAG`: it had no
    tag); for a purged manifest, when its repository was marked for deletion; for a blob, how many bytes
    it frees.  `digests` are in the same order.
    """
    if not dead:
        return NOTHING
    body = json.dumps(
        {
            "stage": stage,
            "chain": _chain.name,
            "place": _chain.place,
            "previous": _chain.previous,
            "started_ms": started_ms,
            "task": running_task.get(),
            "policy": _facts(policy),
            "windows_ms": windows_ms,
            "dead": dead,
        },
        separators=(",", ":"),
    )
    named = "".join(map(fingerprint, digests))
    _chain.previous = hashlib.sha256(body.encode() + bytes.fromhex(named)).hexdigest()
    _chain.place += 1
    return {"certificate": body, "digests": named, "sum": _chain.previous}


def fingerprint(digest: str) -> str:
    """Return 64 hexadecimal characters: those of a SHA-256 digest, or the SHA-256 of any other text."""
    own = _SHA256.fullmatch(digest)
    return own[1] if own else hashlib.sha256(digest.encode()).hexdigest()


@lru_cache(maxsize=16)
def _facts(policy: Policy) -> dict[str, object]:
    """Return the settings of the policy that decide whether something is dead."""
    return {
        "referrers": policy.referrers,
        "referrer_grace_ms": policy.referrer_grace_ms,
        "protects_immutable": policy.protects_immutable,
        "ignores_holds": policy.ignores_holds,
    }
