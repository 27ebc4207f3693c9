"""`python -m tests.hosts [--seed N] [--only WORD]`: every fault between hosts, in turn, as a table.

Needs root, `ip`, `iptables` and `tc`.  Clients push, delete, restore and pull beside it all; at the end
everything comes to rest and is audited as after a soak.  Exit 1 if something was lost, leaked or stood still.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import click

from model.verify import Verifier, open_snapshot
from tests.hosts.deployment import Deployment, deployment
from tests.hosts.faults import FAULTS, Fault
from tests.hosts.network import can_make_hosts
from tests.soak.__main__ import PATIENCE_S, TAGS
from tests.soak.audit import audit_journals, audit_registry, come_to_rest
from tests.soak.journal import read_journals
from tests.soak.processes import ROOT, Actors
from worker.storage.open import open_stores

ROLES = {"push": 1, "delete": 1, "restore": 1, "pull": 1}


@dataclass(frozen=True)
class Told:
    """How long it took until an image that was deleted was gone, during a fault and after it; None: never."""

    fault: Fault
    during_s: float | None
    after_s: float | None

    @property
    def wrong(self) -> list[str]:
        return [
            f"{self.fault.name}: work did not go on {when} within {self.fault.within_s:g} s"
            for when, seconds in (("during it", self.during_s), ("after it", self.after_s))
            if seconds is None
        ]


@dataclass(frozen=True)
class Outcome:
    """What each fault did, what was wrong at the end, and how much the clients did."""

    told: Sequence[Told]
    wrong: Sequence[str]
    operations: int
    promises: int


def run(
    faults: Sequence[Fault],
    seed: int,
    *,
    tree: Path = ROOT,
    logs: Path | None = None,
    roles: Mapping[str, int] = ROLES,
) -> Outcome:
    """Inject the faults one after the other while clients work, then audit."""
    with deployment(standby=any("standby" in fault.name for fault in faults), tree=tree) as where:
        told = []
        where.goes_on_s(120)
        actors = Actors(roles, where.repositories, TAGS, where.clients, where.directory, seed)
        with actors:
            for fault in faults:
                with fault.injected(where):
                    during_s = where.goes_on_s(fault.within_s)
                told.append(Told(fault, during_s, where.goes_on_s(fault.within_s)))
                click.echo(f"{fault.name}: {during_s} s, {told[-1].after_s} s", err=True)
            crashed = actors.stop()
        wrong, operations, promises = _audit(where, crashed)
        wrong += [text for each in told for text in each.wrong]
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
            for path in where.directory.glob("*.log"):
                (logs / path.name).write_bytes(path.read_bytes())
        return Outcome(told, wrong, operations, promises)


def _audit(where: Deployment, crashed: Sequence[str]) -> tuple[list[str], int, int]:
    policy = where.settings.policy
    stores = open_stores(where.settings.storage, upload=where.settings.upload_location)
    left = come_to_rest(policy, patience_s=PATIENCE_S)
    entries = read_journals(where.directory)
    journals = audit_journals(entries, where.outages, where.settings.push_ttl_s)
    registry = audit_registry(stores, policy)
    connection = open_snapshot(where.settings.database_url)
    proven = Verifier(connection).run()
    connection.close()
    wrong = [*crashed, *([f"no rest: {left}"] if left else []), *journals.wrong, *registry.wrong]
    return [*wrong, *proven.problems], len(entries), journals.counts["promises held"]


@contextmanager
def previous_tree() -> Iterator[Path]:
    """The code before the last change of our own tables, from git; the present one where there is no git."""
    last = ["git", "log", "-1", "--format=%H^", "--", "model/migrations"]
    found = subprocess.run(last, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    packed = subprocess.run(
        ["git", "archive", found or "none"], cwd=ROOT, capture_output=True, check=False
    ).stdout
    if not packed:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="dredge-previous-") as name:
        with tarfile.open(fileobj=BytesIO(packed)) as tree:
            tree.extractall(name, filter="data")
        yield Path(name)


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--only", help="Only faults whose name contains this.")
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), help="Keep the logs here.")
def main(seed: int, only: str | None, logs: Path | None) -> None:
    """Do to the hosts whatever a network does, and print what came of it as a table of Markdown."""
    if reason := can_make_hosts():
        raise click.ClickException(reason)
    began = time.monotonic()
    chosen = [fault for fault in FAULTS if only is None or only in fault.name]
    with previous_tree() as tree:
        outcome = run(chosen, seed, tree=tree if chosen[0] is FAULTS[0] else ROOT, logs=logs)
    click.echo("| what happens | gone during it | gone after it | stated |\n| --- | --- | --- | --- |")
    for each in outcome.told:
        cells = [each.fault.name, _shown(each.during_s), _shown(each.after_s), f"{each.fault.within_s:g} s"]
        click.echo(f"| {' | '.join(cells)} |")
    click.echo(
        f"\n{outcome.operations:,} operations of clients, {outcome.promises:,} promises held,"
        f" {len(outcome.wrong)} violations, {time.monotonic() - began:.0f} s"
    )
    for text in outcome.wrong:
        click.echo(text, err=True)
    sys.exit(1 if outcome.wrong else 0)


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


if __name__ == "__main__":
    main()
