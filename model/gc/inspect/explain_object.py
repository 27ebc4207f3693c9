"""Why a blob or an object in storage still exists, or when it is deleted.  Only reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from model.db.clock import now_ms
from model.db.connection import fetch, fetch_one
from model.db.lookup_rows import find_used_locations
from model.gc.inspect.explanation import Explanation
from model.gc.orphans.objects import find_known
from model.human import counted, human_ms
from model.storage_paths import (
    EMPTY_LAYER_PATH,
    IDENTITY_PATH,
    TRASH_FOLDER,
    digest_of,
    is_ours,
    set_aside_from,
)

_BLOB = """
SELECT b.id, b.image_size,
       EXISTS (SELECT FROM dredge_blob_candidate c WHERE c.blob_id = b.id) AS candidate,
       ARRAY(SELECT n.username || '/' || r.name || '@' || m.digest
             FROM manifestblob mb JOIN manifest m ON m.id = mb.manifest_id
             JOIN repository r ON r.id = mb.repository_id JOIN "user" n ON n.id = r.namespace_user_id
             WHERE mb.blob_id = b.id LIMIT 5) AS manifests,
       ARRAY(SELECT n.username || '/' || r.name FROM uploadedblob u
             JOIN repository r ON r.id = u.repository_id JOIN "user" n ON n.id = r.namespace_user_id
             WHERE u.blob_id = b.id LIMIT 5) AS pushes,
       EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id) AS placed
FROM imagestorage b WHERE b.content_checksum = %(digest)s OR b.uuid = %(uuid)s ORDER BY b.id
"""

_TOMBSTONE = """
SELECT location, due_ms, tries, last_error FROM dredge_tombstone
WHERE digest = %(digest)s OR path = %(path)s ORDER BY due_ms LIMIT 1
"""

_QUARANTINED = """
SELECT location, purge_ms, tries, last_error FROM dredge_quarantine
WHERE put_back_ms IS NULL AND (digest = %(digest)s OR path = %(path)s OR id = %(id)s)
ORDER BY purge_ms LIMIT 1
"""

_SUSPENDED = "SELECT problem FROM dredge_storage WHERE location = %s AND problem IS NOT NULL"

_UPLOAD = """
SELECT n.username || '/' || r.name AS repository FROM blobupload u
JOIN repository r ON r.id = u.repository_id JOIN "user" n ON n.id = r.namespace_user_id
WHERE u.uuid = %(uuid)s
"""


def explain_blob(digest: str) -> Explanation | None:
    """Explain why the blob of that digest, or its object, exists; None if nothing has the digest."""
    rows = fetch(_BLOB, {"digest": digest, "uuid": None})
    params = {"digest": digest, "path": None, "id": None}
    return _needed(_blob(digest, rows), params) if rows else _doomed(digest, params)


def explain_object(path: str) -> Explanation:
    """Explain why the object at that path of a store exists, from the rows only; the store is not read."""
    if path in (EMPTY_LAYER_PATH, IDENTITY_PATH):
        why = "the empty layer's" if path == EMPTY_LAYER_PATH else "the store's identity"
        return Explanation("object", path, True, (f"it is {why} object, which is never erased",))
    folder, _, name = path.partition("/")
    if folder == TRASH_FOLDER:
        return _in_trash(path)
    if not is_ours(path):
        return Explanation("object", path, True, ("no blob can lie there: Dredge never touches it",))
    digest, uuid = digest_of(path), name.partition("/")[0][:36]
    rows = fetch(_BLOB, {"digest": digest, "uuid": uuid if folder == "sharedimages" else None})
    if rows:
        return _blob(path, rows)
    if folder == "uploads" and (upload := fetch_one(_UPLOAD, {"uuid": uuid})):
        return Explanation("object", path, True, (f"is part of an upload to {upload.repository}",))
    doomed = _doomed(path, {"digest": digest, "path": path, "id": None})
    if doomed is not None:
        return doomed
    if any(find_known([path], location) for location in find_used_locations()):
        return Explanation("object", path, True, ("is part of an upload that goes on",))
    return Explanation("object", path, False, ("no row knows it: dredge sweep finds it, if it is there",))


def _blob(subject: str, rows: list[Any]) -> Explanation:
    kind = "blob" if ":" in subject else "object"
    reasons = [f"is used by {name}" for row in rows for name in row.manifests]
    reasons += [f"is held by a push to {name}" for row in rows for name in row.pushes]
    if reasons:
        return Explanation(kind, subject, True, tuple(reasons))
    if any(row.candidate for row in rows):
        return Explanation(kind, subject, False, ("goes with the next review",))
    if any(not row.placed for row in rows):
        return Explanation(kind, subject, True, ("has no placement: a download in progress",))
    return Explanation(kind, subject, False, ("nothing refers to it: dredge sweep will find it",))


def _doomed(subject: str, params: dict[str, Any]) -> Explanation | None:
    """Explain when the object of a tombstone, or one in the trash, is erased."""
    row = fetch_one(_TOMBSTONE, params)
    if row is not None:
        wait = human_ms(max(0, row.due_ms - now_ms()))
        return Explanation(
            "object",
            subject,
            False,
            (f"its object will be erased in {wait}{_tries(row)}", *_suspended(row.location)),
        )
    row = fetch_one(_QUARANTINED, params)
    if row is None:
        return None
    wait = human_ms(max(0, row.purge_ms - now_ms()))
    reason = f"is in the trash of {row.location}, and is erased in {wait}{_tries(row)}"
    what_to_do = "goes back if a row refers to it before: see dredge undelete"
    return Explanation("object", subject, False, (reason, what_to_do, *_suspended(row.location)))


def _needed(explained: Explanation, params: dict[str, Any]) -> Explanation:
    """Add that the blob's object is in the trash, if it is."""
    row = fetch_one(_QUARANTINED, params)
    if row is None:
        return explained
    reason = f"its object is in the trash of {row.location}, and goes back with the eraser's next turn"
    reasons = (*explained.reasons, reason + _tries(row), *_suspended(row.location))
    return replace(explained, reasons=reasons)


def _suspended(location: str) -> tuple[str, ...]:
    row = fetch_one(_SUSPENDED, (location,))
    return () if row is None else (f"nothing is done at {location}, which is suspended: {row.problem}",)


def _in_trash(path: str) -> Explanation:
    named = set_aside_from(path)
    params = {"digest": None, "path": None, "id": named[0] if named else None}
    unknown = Explanation("object", path, True, ("no row of the trash knows it: it stays",))
    return _doomed(path, params) or unknown


def _tries(row: Any) -> str:
    return f", after {counted(row.tries, 'failure')}: {row.last_error}" if row.tries else ""
