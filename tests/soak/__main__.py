"""A bounded soak: `python -m tests.soak --seconds 60 --seed 1 [--json]`, or `make soak SOAK_SECONDS=60`.

Real servers, the Procfile's workers and beat, and processes that push, sign, mount, move, delete,
restore and pull, while workers, the beat and clients are killed, the database and the broker restart,
crash and freeze, standbys are promoted, and a worker's clock jumps; each at least once, however short the
time.  At the end everything comes to rest and the books are held against the registry: whoever was told
yes has everything, every failure has a reason, no garbage is left, and every certificate is true.  Exit 1
if one of these is not true.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from honcho.environ import parse_procfile

from model import namespace, repository
from model.db import connection as database
from model.verify import Verifier, open_snapshot
from tests.soak.audit import SHOWN, Verdict, audit_journals, audit_registry, come_to_rest
from tests.soak.history import write_history
from tests.soak.journal import Entry, read_journals
from tests.soak.processes import ROOT, Actors, Chaos, Span, Workers
from tests.soak.quay import forget_strays
from tests.soak.verdict import judge_file
from tests.support.databases import memory
from tests.support.servers.standby import Pair
from worker.cli import tables
from worker.cli.embedded import command_environment, create_tables
from worker.local.embedded import EmbeddedServers, free_port
from worker.settings import Settings
from worker.storage.open import open_stores

ROLES = {"push": 3, "mount": 1, "move": 1, "delete": 2, "restore": 1, "pull": 2, "quay": 1}
WINDOWS_S = {"now": 0, "soon": 2, "weeks": 1_209_600}
REPOSITORIES = 2
TAGS = [f"v{n}" for n in range(6)]
PUSH_TTL_S = 5
CHOICES = {
    "DREDGE_REFERRERS": "cascade",
    "DREDGE_REFERRER_GRACE_S": "3",
    "DREDGE_PUSH_TTL_S": str(PUSH_TTL_S),
    "DREDGE_SCAN_INTERVAL_S": "0.5",
    # A Quay writes beside us.
    "DREDGE_QUARANTINE_S": "3600",
    "DREDGE_BREAKER_SHARE": "0",
    "DREDGE_TASK_BUDGET_S": "3",
    "DREDGE_BATCH_MANIFESTS": "20",
    # Referrers whose subject was collected before they came are found by the sweep alone.
    "DREDGE_SWEEP_INTERVAL_S": "2",
    "DREDGE_SWEEP_DELAY_S": "1",
}
KEPT = ("*.log", "*.journal", "history.jsonl")
# Each process of the worker notes its steps: from which time to which, by the true clock.
STEPPING_CLOCK = """
import time
_time = time.time
_seen = {}
def _steps():
    now = _time()
    ahead_s = 600 if int(now) // 7 % 2 else -600
    if _seen.get("ahead_s", ahead_s) != ahead_s:
        with open(__file__ + ".steps", "a") as steps:
            steps.write(f"{now}\\n")
    _seen["ahead_s"] = ahead_s
    return now + ahead_s
time.time = _steps
"""
PAUSE_S = 1.5
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Soaked:
    """What a soak did and found."""

    entries: Sequence[Entry]
    verdicts: tuple[Verdict, ...]
    chaos: Mapping[str, int] = field(default_factory=dict)

    @property
    def wrong(self) -> list[str]:
        return [text for verdict in self.verdicts for text in verdict.wrong]

    @property
    def counts(self) -> dict[str, int]:
        counts = {name: n for verdict in self.verdicts for name, n in sorted(verdict.counts.items())}
        return counts | dict(self.chaos)


@dataclass(frozen=True)
class Deployment:
    """Where a soak takes place: servers with tables, repositories, and the children's environment."""

    servers: EmbeddedServers
    database: Pair
    settings: Settings
    environment: Mapping[str, str]
    directory: Path
    repositories: Sequence[int]
    windows_s: Sequence[float]


@contextmanager
def deployment(
    windows_s: Mapping[str, int] = WINDOWS_S, repositories: int = REPOSITORIES
) -> Iterator[Deployment]:
    """Fresh servers and repositories; PostgreSQL is durable, since it is killed."""
    with tempfile.TemporaryDirectory(prefix="dredge-soak-", dir=memory()) as name:
        directory = Path(name)
        directory.chmod(0o755)
        with EmbeddedServers(directory / "servers") as servers:
            assert servers.postgres is not None
            servers.postgres.durable = True
            servers.postgres.restart()
            create_tables(servers.database_url)
            pair = Pair(servers.postgres, directory / "servers", free_port())
            places = {
                "DREDGE_STORAGE": f"local_us={servers.storage_url}?fsync=off",
                "DREDGE_DATABASE_URL": pair.url,
            }
            variables = {**servers.environment(), **CHOICES, **places}
            settings = Settings.from_env(variables)
            database.configure(settings.database_url)
            made = [
                repository.ensure(namespace.ensure(owner, window_s=window_s).id, f"app{n}").id
                for owner, window_s in windows_s.items()
                for n in range(repositories)
            ]
            ends = [float(window_s) for window_s in windows_s.values() for _ in range(repositories)]
            yield Deployment(servers, pair, settings, command_environment(variables), directory, made, ends)
            database.db.close_all()


def soak(seconds: float, seed: int, *, logs: Path | None = None) -> Soaked:
    """Soak for so long, then audit; `logs` is where the processes' logs and journals are kept."""
    with deployment() as where:
        lines = parse_procfile((ROOT / "Procfile").read_text()).processes
        lines["worker2"] = f"{steps_of_the_clock(where.directory)} {lines['worker']} -n second@%h"
        names = ("worker", "worker2", "beat")
        with Workers(lines, where.environment, where.directory) as workers:
            actors = Actors(ROLES, where.repositories, TAGS, where.environment, where.directory, seed)
            with actors:
                chaos = Chaos(random.Random(seed), where.servers, where.database, workers, names, actors)
                actors.await_first_operations()
                chaos.run(seconds, PAUSE_S)
                crashed = actors.stop()
            done = audit(where, workers, crashed, chaos)
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
            for path in (p for kind in KEPT for p in where.directory.glob(kind)):
                shutil.copy(path, logs)
        return done


def audit(where: Deployment, workers: Workers, crashed: Sequence[str], chaos: Chaos | None = None) -> Soaked:
    """Bring it to rest and hold the books against it."""
    policy = where.settings.policy
    stores = open_stores(where.settings.storage, upload=where.settings.upload_location)
    began = time.monotonic()
    left = come_to_rest(policy, patience_s=PATIENCE_S)
    rest = Verdict()
    rest.add("client crashed", crashed)
    rest.add(
        "worker ended by itself", [f"{name}: {workers.tail(name, 60)}" for name in [workers.ended()] if name]
    )
    rest.add("no rest", [f"{left}\n{workers.tail('worker')}"] if left else [])
    rest.counts["seconds to rest"] = round(time.monotonic() - began)
    with closing(open_snapshot(where.settings.database_url)) as snapshot:
        proven = Verifier(snapshot).run()
    rest.add("false certificate", proven.problems)
    rest.counts["certificates"] = proven.certificates
    entries = read_journals(where.directory)
    failed = [e.facts["blobs"] for e in entries if e.op == "quay push" and not e.yes]
    rest.counts["objects left by Quay"] = forget_strays(stores, failed)
    outages = chaos.outages if chaos else ()
    faults = [*(chaos.faults if chaos else ()), *read_steps_of_the_clock(where.directory)]
    history = where.directory / "history.jsonl"
    windows = dict(zip(where.repositories, where.windows_s, strict=True))
    write_history(
        history,
        entries,
        windows_s=windows,
        outages=outages,
        faults=faults,
        ttl_s=PUSH_TTL_S,
        stores=stores,
    )
    seen = judge_file(history)
    clients = Verdict([*seen.wrong[:SHOWN]], Counter({"reads judged": seen.counts["reads judged"]}))
    verdicts = (audit_journals(entries, outages, PUSH_TTL_S), rest, audit_registry(stores, policy), clients)
    return Soaked(entries, verdicts, Counter(name for name, _ in faults))


def steps_of_the_clock(directory: Path) -> str:
    """Words before a command: the clock of its process jumps to ten minutes ahead, then behind, and so on."""
    (directory / "clock").mkdir(exist_ok=True)
    (directory / "clock/sitecustomize.py").write_text(STEPPING_CLOCK)
    return f"PYTHONPATH={directory}/clock"


def read_steps_of_the_clock(directory: Path) -> list[tuple[str, Span]]:
    """Return when the clock of a process has jumped."""
    path = directory / "clock/sitecustomize.py.steps"
    moments = [float(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [("clock jumped", (moment, moment)) for moment in moments]


@click.command()
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(1, 86_400))
@click.option("--seed", default=1, show_default=True)
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), help="Keep the logs and journals.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on one line.")
def main(seconds: float, seed: int, logs: Path | None, as_json: bool) -> None:
    """Soak a registry, then hold what was promised against what is there."""
    done = soak(seconds, seed, logs=logs)
    if as_json:
        facts = {"seconds": seconds, "seed": seed, "operations": len(done.entries)}
        click.echo(json.dumps({**facts, "counts": done.counts, "wrong": done.wrong}))
    else:
        tables.table(("", ""), [(name, f"{count:,}") for name, count in done.counts.items()])
        click.echo(f"\n{len(done.entries):,} operations in {seconds:g} s; violations: {len(done.wrong)}")
    for text in done.wrong:
        click.echo(text, err=True)
    sys.exit(1 if done.wrong else 0)


if __name__ == "__main__":
    main()
