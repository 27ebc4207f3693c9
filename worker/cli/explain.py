"""`dredge explain`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model.gc.inspect.explanation import Explanation
from worker.cli import options, output, repositories
from worker.jobs.explain import explain_any


@click.command(name="explain")
@click.argument("what", metavar="REPO[:TAG|@DIGEST]|DIGEST|PATH", type=repositories.REPOSITORY)
@options.json_lines
def command(what: str, as_json: bool) -> None:
    """Explain why something still exists, or when it will be removed.

    That is a repository (namespace/name), a tag of it, a manifest or blob by its digest (in one repository,
    or in all), or an object by its path in storage. For a tag it also explains what each retention rule does.
    """
    settings = output.settings()
    with output.connected(settings):
        found = explain_any(what, settings)
    for explained in found:
        if as_json:
            output.emit_json(_as_json(explained))
            continue
        output.line(
            f"{explained.kind} {explained.subject} {'is kept' if explained.kept else 'will be removed'}:"
        )
        for reason in explained.reasons:
            output.line(f"  {reason}")


def _as_json(explained: Explanation) -> dict[str, object]:
    """Return the facts, and the digest of a manifest or blob under its former key as well."""
    facts = asdict(explained)
    if explained.kind in ("manifest", "blob"):
        facts["digest"] = explained.subject.rpartition("@")[2]
    return facts
