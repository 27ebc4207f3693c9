"""`dredge tag`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from model import registry
from model.db.clock import now_ms
from model.errors import NoSuchTag, NotRestorable, RegistryError
from model.names import parse_manifest, parse_repository, parse_tag
from model.policy import Policy
from model.registry import Lifetime, Position, Tag
from worker.cli import options, output, repositories, tables
from worker.cli.times import parse_duration_ms, parse_moment_ms, when

_PAGE = 1000
_limit = click.option(
    "--limit", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="Maximum rows."
)


@click.group(name="tag")
def command() -> None:
    """List, delete, restore and expire tags."""


@command.command(name="list", short_help="List the alive tags of a repository.")
@click.argument("repository", type=repositories.REPOSITORY)
@_limit
@options.json_lines
def list_(repository: str, limit: int, as_json: bool) -> None:
    """List the alive tags of a repository (namespace/name) by name."""
    with output.connected(output.settings()):
        where = registry.get_repository(str(parse_repository(repository))).id
        tags = list(_active(where, limit))
    if as_json:
        for tag in tags:
            output.emit_json(asdict(tag))
    else:
        rows = [(tag.name, tag.digest, when(tag.start_ms), when(tag.end_ms), tag.immutable) for tag in tags]
        tables.table(("tag", "manifest", "since", "expires", "immutable"), rows)


def _active(repository_id: int, limit: int) -> Iterator[Tag]:
    last: str | None = None
    while limit > 0:
        page = registry.list_active_tags(repository_id, last=last, limit=min(limit, _PAGE))
        yield from page.tags
        if not page.has_more:
            return
        limit -= len(page.tags)
        last = page.tags[-1].name


@command.command(short_help="List the manifests of tags, now and before.")
@click.argument("target", metavar="REPO[:TAG]", type=repositories.REPOSITORY)
@_limit
@options.json_lines
def history(target: str, limit: int, as_json: bool) -> None:
    """List the manifests of a repository's tags, now and before, as far back as they can be restored."""
    repository, name = _repository_or_tag(target)
    with output.connected(output.settings()):
        lines = list(_history(registry.get_repository(repository).id, name, limit))
    if as_json:
        for line in lines:
            output.emit_json(
                asdict(line.tag)
                | {"restorable": line.restorable, "recoverable_until_ms": line.recoverable_until_ms}
            )
    else:
        tables.table(
            ("tag", "manifest", "since", "until", "restorable until"), [_history_row(line) for line in lines]
        )


def _history(repository_id: int, name: str | None, limit: int) -> Iterator[Lifetime]:
    before: Position | None = None
    while limit > 0:
        page = registry.list_tag_history(repository_id, name=name, before=before, limit=min(limit, _PAGE))
        yield from page.lifetimes
        if page.next is None:
            return
        limit -= len(page.lifetimes)
        before = page.next


def _history_row(line: Lifetime) -> tuple[object, ...]:
    until = when(line.recoverable_until_ms) if line.restorable else None
    return (line.tag.name, line.tag.digest, when(line.tag.start_ms), when(line.tag.end_ms), until)


@command.command(short_help="Delete tags, or every tag of a manifest.")
@click.argument(
    "targets", metavar="REPO:TAG|REPO@DIGEST…", nargs=-1, required=True, type=repositories.REPOSITORY
)
@click.option("--permanently", is_flag=True, help="Make restoring impossible; free the space at once.")
@click.option("--yes", is_flag=True, help="With --permanently: do not ask, however many tags go.")
@click.option(
    "--children/--no-children",
    default=True,
    show_default=True,
    help="With --permanently: also end the temporary tags of its child manifests.",
)
@options.json_lines
def delete(targets: Sequence[str], permanently: bool, yes: bool, children: bool, as_json: bool) -> None:
    """Delete tags, or every tag of a manifest; they can be restored until their recovery window closes.

    With --permanently nothing can be restored.  The command asks before it deletes more than one target.
    """
    if permanently and len(targets) > 1 and not yes:
        output.confirm(f"Delete {len(targets)} tags permanently?", as_json=as_json)
    settings = output.settings()
    with output.connected(settings):
        for target in targets:
            ended = _delete(target, permanently, children, settings.policy)
            if not ended:
                raise _missing(target)
            for tag in ended:
                _say(as_json, tag, f"deleted {tag.name} ({tag.digest})")


def _missing(target: str) -> RegistryError:
    """Return the error for a tag, or a manifest with tags, that does not exist."""
    if "@" in target:
        return NoSuchTag(f"No tag points at {target}")
    name = parse_tag(target)
    return NoSuchTag(repository=str(name.repository), tag=name.tag)


def _delete(target: str, permanently: bool, children: bool, policy: Policy) -> tuple[Tag, ...]:
    if "@" in target:
        if permanently:
            raise click.UsageError("--permanently takes tags, not digests")
        manifest = parse_manifest(target)
        return registry.delete_tags_for_manifest(str(manifest.repository), manifest.digest, policy=policy)
    name = parse_tag(target)
    repository = str(name.repository)
    if not permanently:
        ended = registry.delete_tag(repository, name.tag, policy=policy)
        return (ended,) if ended else ()
    alive = registry.get_tag(repository, name.tag)
    if alive is None:
        return ()
    return registry.delete_tag_permanently(
        repository, name.tag, alive.digest, include_submanifests=children, is_alive=True, policy=policy
    )


@command.command(short_help="Point a tag at an earlier manifest.")
@click.argument("target", metavar="REPO:TAG", type=repositories.REPOSITORY)
@click.argument("digest", required=False)
@options.json_object
def restore(target: str, digest: str | None, as_json: bool) -> None:
    """Point a tag at a manifest to which it pointed before: the last one, or the one with this DIGEST."""
    settings = output.settings()
    name = parse_tag(target)
    repository = str(name.repository)
    with output.connected(settings):
        if digest is None:
            digest = _last_restorable(repository, name.tag)
        tag = registry.restore_tag(repository, name.tag, digest, policy=settings.policy)
    _say(as_json, tag, f"{target} is {tag.digest}")


def _last_restorable(repository: str, name: str) -> str:
    lines = registry.list_tag_history(repository, name=name, limit=_PAGE).lifetimes
    if not lines:
        raise NoSuchTag(repository=repository, tag=name)
    dead = [line.tag for line in lines if line.restorable]
    if not dead:
        raise NotRestorable(f"Nothing of {repository}:{name} can be restored: see dredge tag history")
    return max(dead, key=lambda tag: (tag.end_ms or 0, tag.id)).digest


@command.command(short_help="Set when a tag ends.")
@click.argument("target", metavar="REPO:TAG", type=repositories.REPOSITORY)
@click.option("--in", "after", metavar="DURATION", help="End after this time from now: 90m, 12h, 3d, 2w.")
@click.option("--at", "at", metavar="TIME", help="End at this time, ISO 8601; UTC unless it has a zone.")
@click.option("--never", is_flag=True, help="Remove the expiry.")
@options.json_object
def expire(target: str, after: str | None, at: str | None, never: bool, as_json: bool) -> None:
    """Set when a tag ends by itself: 1 hour to 104 weeks after its start."""
    if [after is not None, at is not None, never].count(True) != 1:
        raise click.UsageError("give one of --in, --at and --never")
    settings = output.settings()
    name = parse_tag(target)
    wait = parse_duration_ms(after) if after is not None else None
    moment = parse_moment_ms(at) if at is not None else None
    with output.connected(settings):
        expires_ms = moment if wait is None else now_ms() + wait
        tag = registry.change_tag_expiration(
            str(name.repository), name.tag, expires_ms, policy=settings.policy
        )
        if tag is None:
            raise _missing(target)
    _say(as_json, tag, f"{target} expires {when(tag.end_ms) or 'never'}")


def _repository_or_tag(target: str) -> tuple[str, str | None]:
    if ":" in target:
        name = parse_tag(target)
        return str(name.repository), name.tag
    return str(parse_repository(target)), None


def _say(as_json: bool, tag: Tag, line: str) -> None:
    output.say(as_json, asdict(tag), line)
