"""`dredge import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from model.human import counted
from model.names import RepositoryName, parse_repository
from worker import wiring
from worker.cli import options, output, repositories, tables
from worker.cli.errors import say_problem
from worker.settings import Settings
from worker.transfer.layout import BadLayout, Layout, read_layout
from worker.transfer.layout_import import Imported, checked_tag, import_layout, stale_after_import


@click.command("import")
@click.argument("layout", type=click.Path(path_type=Path))
@click.argument("repository", metavar="REPO", type=repositories.REPOSITORY)
@click.option("--tag", help="Tag the layout's only image with this name, whatever the layout calls it.")
@click.option("--sparse", is_flag=True, help="Accept indexes some of whose images were left out.")
@options.json_object
def command(layout: Path, repository: str, tag: str | None, sparse: bool, as_json: bool) -> None:
    """Read an OCI image layout into a repository.

    LAYOUT is a directory as skopeo, buildah, crane and umoci write it.  Every byte of it is verified before
    anything is stored.  REPO is namespace/name; a missing namespace or repository is created.  Importing
    again stores nothing twice.  A tag ends when the image's label quay.expires-after says.
    """
    name = parse_repository(repository)
    read = output.settings()
    output.require(read, "database_url", "storage")
    with output.progress("verifying", total=None) as advance:
        verified = read_layout(layout, sparse=sparse, advance=lambda size: advance(size))
    tags = None if tag is None else {checked_tag(tag): _only_image(verified)}
    with output.connected(read):
        done = _push(read, verified, name, tags)
    if as_json:
        output.emit_json(asdict(done))
    else:
        _say(done)
    if done.untagged:
        hours = read.push_ttl_s / 3600
        say_problem(
            f"{counted(done.untagged, 'image')} without a tag will be garbage in {hours:g} h:"
            " tag what you keep, or import with --tag",
            as_json=as_json,
        )


def _say(done: Imported) -> None:
    click.echo(
        f"Imported {counted(done.manifests, 'manifest')} ({done.new_manifests} new)"
        f" and {counted(done.blobs, 'blob')}, {tables.human_bytes(done.bytes)}, into {done.repository}."
    )
    click.echo(f"Tags: {', '.join(done.tags) or 'none'}.")


def _push(read: Settings, layout: Layout, name: RepositoryName, tags: dict[str, str] | None) -> Imported:
    context = wiring.in_process(read)
    with output.progress("storing", total=sum(layout.blobs.values())) as advance:
        done = import_layout(
            context.stores, layout, name, policy=read.policy, tags=tags, advance=lambda size: advance(size)
        )
    context.cache.invalidate(*stale_after_import(layout, name))
    return done


def _only_image(layout: Layout) -> str:
    images = [
        document.digest
        for document in layout.documents
        if document.digest in layout.top and document.subject is None
    ]
    if len(images) != 1:
        raise BadLayout(f"{layout.root} holds {counted(len(images), 'image')}: --tag is for a layout of one")
    return images[0]
