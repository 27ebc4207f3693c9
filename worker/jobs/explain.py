"""Explain why a tag, manifest, digest, repository or object still exists."""

from __future__ import annotations

from model import repository
from model.db.clock import now_ms
from model.errors import BadInput, NoSuchRepository, RegistryError
from model.gc.find import Due
from model.gc.inspect.explain import explain, explain_digest
from model.gc.inspect.explain_object import explain_object
from model.gc.inspect.explain_repository import explain_garbage
from model.gc.inspect.explanation import Explanation
from model.human import human_ms
from model.names import parse_digest, parse_manifest, parse_repository, parse_tag
from model.purge.deletion import DeletedRepository, find_deleted_repositories
from model.repository import Repository
from model.retention.explain import explain_tag
from model.storage_paths import IDENTITY_PATH, TRASH_FOLDER, is_ours
from worker.jobs.retain import retention_policy
from worker.jobs.similar import no_such_tag
from worker.jobs.targets import find_named
from worker.jobs.waiting import Stops, explain_waiting
from worker.settings import Settings


class NothingFound(RegistryError):
    """Nothing here has that name."""


def explain_any(text: str, settings: Settings) -> list[Explanation]:
    """Explain `namespace/name`, with `:tag` or `@digest`, a bare digest, or an object's path.  Only reads.

    Several manifests may have one digest; then there is one explanation for each.  Raises `BadInput`,
    `NothingFound`, `NoSuchRepository` or `NoSuchTag`.
    """
    if _is_object(text):
        return [explain_object(text)]
    if "@" in text:
        name = parse_manifest(text)
        found = [explain(find_named(str(name.repository)).id, name.digest, policy=settings.policy)]
    elif "/" not in text:
        found = [*explain_digest(_digest(text), policy=settings.policy)]
    elif ":" in text:
        found = [_tag(text, settings)]
    else:
        found = [_repository(text, settings)]
    explained = [each for each in found if each is not None]
    if not explained and "/" in text and "@" not in text:
        raise no_such_tag(parse_tag(text))
    if not explained:
        raise NothingFound(f"no row has the digest {text.rpartition('@')[2]}")
    return explained


def _is_object(text: str) -> bool:
    """Return whether the text has the form of an object's path; a repository may have such a name, too."""
    if text == IDENTITY_PATH or text.startswith(f"{TRASH_FOLDER}/"):
        return True
    namespace, _, name = text.partition("/")
    return is_ours(text) and repository.by_name(namespace, name) is None


def _digest(text: str) -> str:
    try:
        return parse_digest(text)
    except BadInput:
        forms = "namespace/name, namespace/name:tag, namespace/name@sha256:…, sha256:… or an object's path"
        raise BadInput(f"{text!r} cannot be explained: write {forms}") from None


def _tag(text: str, settings: Settings) -> Explanation | None:
    name = parse_tag(text)
    where = find_named(str(name.repository))
    return explain_tag(where, name.tag, policy=settings.policy, retention=retention_policy(settings))


def _repository(text: str, settings: Settings) -> Explanation:
    try:
        where = find_named(text)
    except NoSuchRepository:
        name = parse_repository(text)
        deleted = find_deleted_repositories(name.namespace, name.name, limit=1)
        if not deleted:
            raise
        return _deleted(text, deleted[0], settings)
    garbage, reasons = explain_garbage(where, policy=settings.policy)
    if garbage:
        reasons.append(_why_it_waits(where, settings))
    return Explanation("repository", text, True, tuple(reasons))


def _why_it_waits(where: Repository, settings: Settings) -> str:
    due = Due(where.id, where.namespace_id, now_ms())
    (waiting,) = explain_waiting([due], Stops.read(settings.policy, share=settings.namespace_share))
    return f"it waits because: {waiting.why}"


def _deleted(text: str, deleted: DeletedRepository, settings: Settings) -> Explanation:
    left_ms = deleted.marked_ms + settings.policy.purge_grace_ms - now_ms()
    if deleted.begun:
        reasons = ["was deleted, and its purge has begun"]
    elif left_ms > 0:
        reasons = [f"was deleted, and can be restored for {human_ms(left_ms)} more"]
    else:
        reasons = ["was deleted, and the next look for purges takes it"]
    if deleted.last_error:
        reasons.append(f"its purge failed: {deleted.last_error}")
    return Explanation("repository", text, False, tuple(reasons))
