"""`dredge collect`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import click

from model.errors import RegistryError
from model.gc.inspect.quarantine import read_quarantine
from model.gc.storage_identity import RecordedStorage
from model.human import counted
from model.purge.namespace import NamespacePurge
from worker import wiring
from worker.cli import output, repositories, tables
from worker.cli.errors import say_problem
from worker.cli.times import when
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.erase_outcome import Cleared
from worker.jobs.plan import Total, all_due
from worker.jobs.storage_identity import find_waiting
from worker.jobs.to_the_end import (
    collect_many_to_the_end,
    erase_to_the_end,
    purge_to_the_end,
    review_to_the_end,
)


@click.command(name="collect")
@click.argument("repository", nargs=-1, type=repositories.REPOSITORY)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Collect every repository with garbage, and run due purges.",
)
@click.option("--ignore-hold", is_flag=True, help="Collect despite holds and DREDGE_WINDOW.")
@click.option("--json", "as_json", is_flag=True, help="Print the total as one JSON object.")
def command(repository: tuple[str, ...], everything: bool, ignore_hold: bool, as_json: bool) -> None:
    """Collect all garbage now, in this process: tags, manifests, blobs and objects.

    REPOSITORY is namespace/name; give some, or --all.  Waiting blobs of other repositories are reviewed
    and erased, too.  With --all, deleted repositories and namespaces are purged if they were deleted at
    least DREDGE_PURGE_GRACE_S ago.  You can interrupt it and run it again.  Repositories on hold
    (`dredge pause`) are skipped, and the exit code is 1.
    """
    if everything == bool(repository):
        raise click.UsageError("give repositories, or --all")
    settings = output.settings()
    output.require(settings, "storage")
    with output.connected(settings):
        context = wiring.in_process(settings, ignores_holds=ignore_hold)
        if stopped := find_stop(context):
            output.fail(f"nothing was removed: {stopped}")
        ids = all_due(settings.policy) if everything else [r.id for r in repositories.find(repository)]
        tally = _collect(context, ids)
        sums, stops = tally.sums, tally.stops
        names = repositories.names_of([id for id, _ in tally.failures])
        sums, blocked = _purge(context, sums) if everything else (sums, [])
        cleared, last_purge_ms = Cleared(), None
        # If nothing was collected, nothing is reviewed or erased either.
        if sums.repositories or not stops or len(stops) < len(ids):
            sums = _review(context, sums)
            cleared = _erase(context)
            last_purge_ms = read_quarantine().last_purge_ms
        waiting = find_waiting()
    if as_json:
        _emit(sums, cleared, last_purge_ms, tally, names, blocked)
    else:
        _say(sums, cleared, last_purge_ms)
        _say_failures(tally, names)
    _report(tally, len(ids))
    if blocked:
        output.fail(f"{counted(len(blocked), 'purge')} stopped: {blocked[0]}")
    _report_objects(cleared, waiting)


@dataclass(frozen=True)
class _Tally:
    """What was collected, why repositories were skipped, and which failed with which error."""

    sums: Total
    stops: tuple[str, ...]
    failures: tuple[tuple[int, str], ...]


def _emit(
    sums: Total,
    cleared: Cleared,
    last_purge_ms: int | None,
    tally: _Tally,
    names: dict[int, str],
    blocked: list[str],
) -> None:
    """Print all that the text says, and what failed or was skipped, as one JSON object."""
    failures = [{"repository": names.get(id, f"#{id}"), "error": error} for id, error in tally.failures]
    erased = {
        "objects": cleared.objects,
        "set_aside": cleared.set_aside,
        "set_aside_bytes": cleared.set_aside_bytes,
        "freed_after_ms": last_purge_ms if cleared.set_aside else None,
        "failed_objects": cleared.failed,
    }
    outcome = {"failures": failures, "skipped": tally.stops, "not_purged": blocked}
    output.emit_json(asdict(sums) | erased | outcome)


def _say(sums: Total, cleared: Cleared, last_purge_ms: int | None) -> None:
    click.echo(
        f"removed: {counted(sums.tags, 'tag')} and {counted(sums.manifests, 'manifest')}"
        f" of {counted(sums.repositories, 'repository')},"
        f" {counted(sums.blobs, 'blob')} ({tables.human_bytes(sums.bytes)}),"
        f" {counted(cleared.objects, 'object')}"
    )
    if cleared.set_aside:
        click.echo(
            f"set aside: {counted(cleared.set_aside, 'object')}"
            f" ({tables.human_bytes(cleared.set_aside_bytes)}) in the trash;"
            f" all are freed after {when(last_purge_ms)}"
        )


def _say_failures(tally: _Tally, names: dict[int, str]) -> None:
    for id, error in tally.failures:
        say_problem(f"{names.get(id, f'#{id}')}: {error}", as_json=False)


def _report(tally: _Tally, asked: int) -> None:
    """End the command with exit code 1 if a repository failed or was skipped."""
    if tally.failures:
        output.fail(
            f"{len(tally.failures):,} of {counted(asked, 'repository')} failed and will be tried again:"
            " see dredge status"
        )
    if tally.stops:
        output.fail(f"skipped {len(tally.stops):,} of {counted(asked, 'repository')}: {tally.stops[0]}")


def _report_objects(cleared: Cleared, waiting: list[RecordedStorage]) -> None:
    """Exit with 1 if objects could not be erased, or wait at a suspended location."""
    if cleared.failed:
        output.fail(
            f"{counted(cleared.failed, 'object')} could not be erased and will be tried again:"
            " see dredge status"
        )
    if waiting:
        output.fail(f"objects at {waiting[0].location} wait, which is suspended: {waiting[0].problem}")


def _collect(context: JobContext, ids: list[int]) -> _Tally:
    """Collect each repository; one that fails does not stop the others."""
    sums, freed, stops, failures = Total(), set[int](), list[str](), list[tuple[int, str]]()
    with output.progress("collecting", len(ids)) as advance:
        for outcome in collect_many_to_the_end(context, ids):
            turn, id = outcome.collected, outcome.repository_id
            if turn.tags or turn.manifests:
                sums += Total(repositories=int(id not in freed), tags=turn.tags, manifests=turn.manifests)
                freed.add(id)
            if turn.stopped:
                stops.append(turn.stopped)
            if outcome.error is not None:
                failures.append((id, str(outcome.error) or type(outcome.error).__name__))
            advance(not turn.has_more)
    return _Tally(sums, tuple(stops), tuple(failures))


def _purge(context: JobContext, sums: Total) -> tuple[Total, list[str]]:
    """Purge deleted repositories and namespaces after their grace.  Returns the new sums, and what failed."""
    blocked = []
    with output.progress("purging deleted repositories") as advance:
        for turn in purge_to_the_end(context):
            if isinstance(turn, RegistryError):
                blocked.append(str(turn))
                continue
            if turn.stopped:
                blocked.append(turn.stopped)
            if isinstance(turn, NamespacePurge):
                continue
            sums += Total(repositories=int(turn.done), tags=turn.tags, manifests=turn.manifests)
            advance(turn.done)
    return sums, blocked


def _review(context: JobContext, sums: Total) -> Total:
    with output.progress("reviewing blobs") as advance:
        for turn in review_to_the_end(context):
            sums += Total(blobs=turn.blobs, bytes=turn.bytes)
            advance(turn.candidates)
    return sums


def _erase(context: JobContext) -> Cleared:
    total = Cleared()
    with output.progress("erasing objects") as advance:
        for turn in erase_to_the_end(context):
            total += turn
            advance(turn.objects + turn.set_aside)
    return total
