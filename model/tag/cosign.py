"""Cosign's convention: a digest's signatures, attestations and bills of materials are tags named after it."""

from __future__ import annotations

import re

from model.tag.rows import ALIVE, Tag, tags

SUFFIXES = ("sig", "att", "sbom")
PATTERN = "^sha256-[a-f0-9]{64}[.](sig|att|sbom)$"
_NAME = re.compile(PATTERN)


def is_cosign(name: str) -> bool:
    """Is this the name of a signature, an attestation or a bill of materials?"""
    return _NAME.fullmatch(name) is not None


def sibling_names(digest: str) -> tuple[str, ...]:
    """The names that Cosign gives to what belongs to `digest`; none for other algorithms."""
    algorithm, _, value = digest.partition(":")
    return tuple(f"sha256-{value}.{suffix}" for suffix in SUFFIXES) if algorithm == "sha256" else ()


def find_orphaned_siblings(subject: Tag, *, now_ms: int, keep_immutable: bool) -> tuple[Tag, ...]:
    """The alive, visible siblings of a tag's manifest that nothing keeps any more, locked.

    They are kept by any alive, visible tag of the manifest that is not itself Cosign's.  Where the
    tag that ended was Cosign's own (the subject is a signature, signed in turn), any visible tag
    keeps them.
    """
    return tags(
        "t.repository_id = %(repository_id)s AND t.name = ANY(%(names)s) AND NOT t.hidden"
        f" AND {ALIVE} AND NOT (t.immutable AND %(keep_immutable)s)"
        " AND NOT EXISTS (SELECT 1 FROM tag o WHERE o.manifest_id = %(manifest_id)s AND NOT o.hidden"
        "  AND (o.lifetime_end_ms IS NULL OR o.lifetime_end_ms > %(now_ms)s)"
        "  AND (%(any)s OR o.name !~ %(pattern)s))"
        " ORDER BY t.id FOR UPDATE OF t",
        {
            "repository_id": subject.repository_id,
            "names": list(sibling_names(subject.digest)),
            "manifest_id": subject.manifest_id,
            "now_ms": now_ms,
            "keep_immutable": keep_immutable,
            "any": is_cosign(subject.name),
            "pattern": PATTERN,
        },
    )
