"""Examples at the end of each help page."""

from __future__ import annotations

import click

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": ("dredge init", "dredge init --triggers"),
    "embedded": ("dredge embedded --init -- dredge sample --manifests 1000",),
    "quay-storage": ("dredge quay-storage config.yaml --credentials /etc/dredge/keys",),
    "up": ("dredge up", "dredge up --directory /var/lib/dredge"),
    "check": ("dredge check", "dredge check --json"),
    "due": ("dredge due --limit 20", "dredge due --within 12h --json"),
    "scan": ("dredge scan --limit 20",),
    "plan": ("dredge plan", "dredge plan acme/app --json", "dredge plan --policy rules.yaml --csv"),
    "collect": ("dredge collect acme/app", "dredge collect --all --json"),
    "enqueue": ("dredge enqueue acme/app --wait 60", "dredge enqueue --all"),
    "pause": (
        "dredge pause acme --reason 'legal hold 17' --until 3d",
        "dredge pause --reason 'storage move'",
    ),
    "resume": ("dredge resume acme",),
    "approve": ("dredge approve acme",),
    "retry": ("dredge retry", "dredge retry review 4711"),
    "retention": ("dredge retention run acme/app",),
    "retention run": ("dredge retention run acme/app --policy rules.yaml",),
    "retention audit": ("dredge retention audit acme/app",),
    "retention problems": ("dredge retention problems",),
    "retention rules": ("dredge retention rules", "dredge retention rules --json"),
    "retention set": ("dredge retention set rules.yaml",),
    "retention remove": ("dredge retention remove 'old builds'",),
    "retention check": ("dredge retention check rules.yaml",),
    "inuse": ("dredge inuse status",),
    "inuse load": ("dredge inuse load --source https://cluster.example.com/digests",),
    "inuse status": ("dredge inuse status",),
    "repository": ("dredge repository list --deleted",),
    "repository delete": ("dredge repository delete acme/app",),
    "repository list": ("dredge repository list --deleted",),
    "repository restore": ("dredge repository restore acme/app",),
    "namespace": ("dredge namespace list --deleted",),
    "namespace delete": ("dredge namespace delete acme",),
    "namespace list": ("dredge namespace list --deleted",),
    "namespace restore": ("dredge namespace restore acme",),
    "status": ("dredge status", "dredge status --json --hours 168", "dredge status --watch"),
    "undelete": (
        "dredge undelete sha256:DIGEST",
        "dredge undelete sha256:DIGEST --repository acme/app",
    ),
    "explain": (
        "dredge explain acme/app:v1",
        "dredge explain acme/app@sha256:DIGEST",
        "dredge explain acme/app",
        "dredge explain uploads/7a4cf2c1",
    ),
    "tag": ("dredge tag list acme/app", "dredge tag restore acme/app:v1"),
    "tag list": ("dredge tag list acme/app --json",),
    "tag history": ("dredge tag history acme/app:latest",),
    "tag delete": (
        "dredge tag delete acme/app:v1",
        "dredge tag delete --permanently acme/app:v1",
    ),
    "tag restore": ("dredge tag restore acme/app:v1",),
    "tag expire": ("dredge tag expire acme/app:nightly --in 3d", "dredge tag expire acme/app:v1 --never"),
    "webhook": ("dredge webhook list",),
    "webhook add": (
        "dredge webhook add ops https://hooks.example.com/dredge",
        "dredge webhook add audit https://audit.example.com/ --type 'tag.*'",
    ),
    "webhook list": ("dredge webhook list --json",),
    "webhook remove": ("dredge webhook remove ops",),
    "webhook retry": ("dredge webhook retry", "dredge webhook retry ops"),
    "events": ("dredge events tail",),
    "events tail": ("dredge events tail --type 'tag.*' --json",),
    "history": ("dredge history --limit 20", "dredge history acme/app --json"),
    "import": ("dredge import ./layout acme/app",),
    "export": ("dredge export acme/app:v1 ./layout",),
    "sample": ("dredge sample --manifests 10000 --seed 7",),
    "sweep": ("dredge sweep --dry-run", "dredge sweep --accept local_us"),
    "verify": ("dredge verify", "dredge verify --json"),
    "fsck": ("dredge fsck", "dredge fsck --deep --json"),
    "web": ("dredge web --port 8090",),
    "web token": ("dredge web token ci --scope read --scope delete",),
    "completion": ("dredge completion bash --install", "dredge completion zsh"),
    "demo": ("dredge demo", "dredge demo --kill"),
}


def with_examples(name: str, command: click.Command) -> click.Command:
    """Give a command, and the commands of its group, their examples.  Idempotent."""
    found = EXAMPLES.get(name, ())
    if found:
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in found)
    if isinstance(command, click.Group):
        for part, deeper in command.commands.items():
            with_examples(f"{name} {part}", deeper)
    return command
