"""Cosign's convention: a digest's signatures, attestations and bills of materials are tags named after it."""

from __future__ import annotations

import re

from model.db.prepared import run_one
from model.tag.rows import Tag, ending_after, tags

SUFFIXES = ("sig", "att", "sbom")
# The name without a suffix is the tag of referrers that clients use if a registry does not list them:
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
PATTERN = "^(sha256-[a-f0-9]{64}([.](sig|att|sbom))?|sha512-[a-f0-9]{64})$"
_NAME = re.compile(PATTERN)
_OF_NAMES = ending_after("a.repository_id = %(repository_id)s AND a.name = ANY(%(names)s)", "%(now_ms)s")


def is_cosign(name: str) -> bool:
    """Return whether this names a signature, an attestation, a bill of materials or a referrers list."""
    return _NAME.fullmatch(name) is not None


def sibling_names(digest: str) -> tuple[str, ...]:
    """Return the tag names of signatures and other referrers of `digest` (Cosign, referrers tag schema)."""
    beginning = subject_of_digest(digest)
    suffixes = SUFFIXES if digest.startswith("sha256:") else ()
    return (beginning, *(f"{beginning}.{suffix}" for suffix in suffixes))


def subject_of_name(name: str) -> str:
    """Return what the names of all siblings of one digest have in common; `subject_of_digest` is equal."""
    return name.partition(".")[0]


def subject_of_digest(digest: str) -> str:
    """Return the beginning of the sibling names of `digest`."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}-{value[:64]}"


def find_orphaned_siblings(subject: Tag, *, now_ms: int, keep_immutable: bool) -> tuple[Tag, ...]:
    """Find and lock the alive, visible siblings of a tag's manifest that no tag keeps any more.

    An alive, visible tag of the manifest keeps them, unless its name is one of Cosign's.  If the tag that
    ended has a name of Cosign's (the subject is a signed signature), any visible tag keeps them.
    """
    siblings = tags(
        f"{_OF_NAMES} AND NOT t.hidden AND NOT (t.immutable AND %(keep_immutable)s)"
        " ORDER BY t.id FOR UPDATE OF t",
        {
            "repository_id": subject.repository_id,
            "names": list(sibling_names(subject.digest)),
            "now_ms": now_ms,
            "keep_immutable": keep_immutable,
        },
    )
    return () if siblings and _is_kept(subject, now_ms) else siblings


def _is_kept(subject: Tag, now_ms: int) -> bool:
    pointing = """
        EXISTS (SELECT FROM tag o WHERE o.manifest_id = %(manifest_id)s AND NOT o.hidden
        AND (%(any)s OR o.name !~ %(pattern)s) AND o.lifetime_end_ms
        """
    return bool(
        run_one(
            f"SELECT {pointing} IS NULL) OR {pointing} > %(now_ms)s) AS kept",
            {
                "manifest_id": subject.manifest_id,
                "any": is_cosign(subject.name),
                "pattern": PATTERN,
                "now_ms": now_ms,
            },
        ).kept
    )
