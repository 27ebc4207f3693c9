"""`dredge quay-storage`: translate Quay's storage configuration into Dredge's settings."""

from __future__ import annotations

import os
import string
from pathlib import Path

import click

from worker.cli import options, output
from worker.storage.quay_config import Location, read_storage_config

_PLAIN = frozenset(string.ascii_letters + string.digits + "._-")


@click.command("quay-storage")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--credentials",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each location's keys to a file in this directory, readable by its owner only.",
)
@options.json_object
def command(config: Path, directory: Path | None, as_json: bool) -> None:
    """Read Quay's config.yaml and print DREDGE_STORAGE and DREDGE_UPLOAD_LOCATION.

    Keys are never printed: without --credentials the location's keys have to come from the
    environment.  Nothing is sent to a store; `dredge check` tries each location.
    """
    found = read_storage_config(config)
    urls = {each.name: _with_credentials(each, directory) for each in found.locations}
    notes = {each.name: _notes(each, directory) for each in found.locations}
    if as_json:
        output.emit_json({"storage": urls, "upload_location": found.upload, "notes": notes})
        return
    click.echo("DREDGE_STORAGE='" + ",".join(f"{name}={url}" for name, url in urls.items()) + "'")
    click.echo(f"DREDGE_UPLOAD_LOCATION={found.upload}")
    for name, lines in notes.items():
        for line in lines:
            click.echo(f"{name}: {line}", err=True)


def _notes(location: Location, directory: Path | None) -> list[str]:
    missing = location.credentials and not directory
    return [*location.notes, *(["its keys are not part of the URL: use --credentials"] if missing else [])]


def _with_credentials(location: Location, directory: Path | None) -> str:
    if not location.credentials or not directory:
        return location.url
    path = (directory / location.name).absolute()
    if not set(location.name) <= _PLAIN or "," in str(path):
        output.fail(f"the location's name or the directory cannot be part of a URL: {path}")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Created with the owner's permission only, so that nobody else can ever read the keys.
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(location.credentials)
    except OSError as error:
        output.fail(f"cannot write {path}: {error.strerror}")
    return f"{location.url}{'&' if '?' in location.url else '?'}credentials_file={path}"
