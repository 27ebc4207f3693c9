"""`dredge export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from model import registry
from model.errors import NoSuchTag
from model.human import counted
from model.names import parse_tag
from worker.cli import options, output, repositories, tables
from worker.cli.errors import say_problem
from worker.storage.open import open_stores
from worker.transfer.layout_export import export_layout


@click.command("export")
@click.argument("image", metavar="REPO:TAG", type=repositories.REPOSITORY)
@click.argument("layout", type=click.Path(path_type=Path))
@options.json_object
def command(image: str, layout: Path, as_json: bool) -> None:
    """Write a tag as an OCI image layout.

    LAYOUT is a new or empty directory, or a layout to add to.  The image's signatures and other referrers
    are written, too.  Every blob is verified by its digest.
    """
    name = parse_tag(image)
    read = output.settings()
    output.require(read, "database_url", "storage")
    stores = open_stores(read.storage, upload=read.upload_location)
    with output.connected(read):
        repository = registry.get_repository(str(name.repository))
        tag = registry.get_tag(repository.id, name.tag)
        if tag is None:
            raise NoSuchTag(repository=str(name.repository), tag=name.tag)
        with output.progress("exporting", total=None) as advance:
            done = export_layout(
                stores,
                repository.id,
                tag.digest,
                layout,
                tag=name.tag,
                advance=lambda size: advance(size),
            )
    if as_json:
        output.emit_json({"image": image, "digest": tag.digest} | asdict(done))
    else:
        click.echo(
            f"Exported {counted(done.manifests, 'manifest')} ({counted(done.referrers, 'referrer')})"
            f" and {counted(done.blobs, 'blob')}, {tables.human_bytes(done.bytes)}, to {layout}."
        )
    if done.missing:
        say_problem(f"{counted(done.missing, 'image')} of the index not in the repository", as_json=as_json)
