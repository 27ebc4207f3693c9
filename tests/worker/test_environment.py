"""What the environment says: secrets from files, Kubernetes' own variables, and no secret in any output."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from worker.api_token import parse_tokens
from worker.settings import Settings, SettingsError

ROOT = Path(__file__).parents[2]
CELERY = [sys.executable, "-m", "celery", "-A", "worker"]
SECRETS = {
    "DATABASE_URL": "postgresql://quay:hunter2@db/quay",
    "BROKER_URL": "redis+sentinel://quay:hunter2@a,b/main/0?sentinel_password=hunter2",
    "REDIS_URL": "redis://quay:hunter2@db/0",
    "CACHE_URL": "redis://quay:hunter2@cache/0",
    "CACHE_REPLICA_URL": "redis://quay:hunter2@replica/0",
    "QUAY_REDIS_URL": "redis://quay:hunter2@quay/0",
    "CLAIR_PSK": "aHVudGVyMg==",
    "IN_USE_SOURCE": "https://quay:hunter2@host/list",
    "WEBHOOK_KEY": "hunter2" * 5,
    "WEB_TOKENS": f"ops:read:{'b3' * 32}",
}


def problems(**variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({f"DREDGE_{name}": value for name, value in variables.items()})
    return caught.value.problems


def test_every_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    assert {f.name.upper() for f in fields(Settings) if f.metadata["secret"]} == set(SECRETS)
    given = {}
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(f"{value}\n")
        given[f"DREDGE_{name}_FILE"] = str(tmp_path / name)
    read = Settings.from_env(given)
    shown = {name: getattr(read, name.lower()) for name in SECRETS}
    assert shown.pop("WEB_TOKENS") == parse_tokens(SECRETS["WEB_TOKENS"])
    assert shown == {name: value for name, value in SECRETS.items() if name != "WEB_TOKENS"}


def test_a_secret_comes_from_one_place_and_its_file_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://host/0")
    both = problems(BROKER_URL="redis://host/0", BROKER_URL_FILE=str(tmp_path / "url"))
    assert both == ["DREDGE_BROKER_URL_FILE: DREDGE_BROKER_URL is set as well; give one of them"]
    missing = problems(CLAIR_PSK_FILE="/nowhere/psk", SCAN_LIMIT_FILE="/x")
    assert missing == [
        "DREDGE_CLAIR_PSK_FILE: /nowhere/psk cannot be read: No such file or directory",
        "DREDGE_SCAN_LIMIT_FILE: no such setting: did you mean DREDGE_SCAN_LIMIT or DREDGE_SCAN_SLICE?",
    ]


def test_no_secret_is_in_a_repr() -> None:
    given: dict[str, Any] = {name.lower(): value for name, value in SECRETS.items()}
    shown = repr(Settings(**given))
    assert "hunter2" not in shown and "aHVudGVyMg" not in shown


def test_no_url_that_is_refused_is_repeated() -> None:
    wrong = {name: "http://quay:hunter2@host:port/x?y=hunter2" for name in SECRETS if name.endswith("URL")}
    told = problems(**wrong, CLAIR_PSK="hunter2!")
    assert len(told) == len(wrong) + 1
    assert "hunter2" not in "".join(told)


def test_variables_that_kubernetes_sets_for_a_service_are_ignored() -> None:
    injected = {
        "DREDGE_SERVICE_HOST": "10.96.0.7",
        "DREDGE_SERVICE_PORT": "8080",
        "DREDGE_SERVICE_PORT_HTTP": "8080",
        "DREDGE_PORT": "tcp://10.96.0.7:8080",
        "DREDGE_PORT_8080_TCP": "tcp://10.96.0.7:8080",
        "DREDGE_PORT_8080_TCP_PROTO": "tcp",
        "DREDGE_PORT_8080_TCP_PORT": "8080",
        "DREDGE_PORT_8080_TCP_ADDR": "10.96.0.7",
        "DREDGE_METRICS_PORT": "tcp://10.96.0.8:9090",
        "DREDGE_METRICS_SERVICE_HOST": "10.96.0.8",
        "DREDGE_METRICS_PORT_9090_TCP_ADDR": "10.96.0.8",
    }
    assert Settings.from_env(injected) == Settings()
    assert Settings.from_env({**injected, "DREDGE_METRICS_PORT": "9090"}).metrics_port == 9090
    assert problems(METRICS_PORT="tcp") == ["DREDGE_METRICS_PORT: must be a number"]


def test_an_unknown_kind_of_cache_entry_is_refused() -> None:
    told = problems(CACHE_TTL_TYPO="5", CACHE_MAX_BYTES_TYPO="5")
    assert [each.partition(";")[0] for each in told] == [
        "DREDGE_CACHE_MAX_BYTES_TYPO: no such kind of cache entry",
        "DREDGE_CACHE_TTL_TYPO: no such kind of cache entry",
    ]


def test_rabbitmq_needs_a_redis_beside_it() -> None:
    assert problems(BROKER_URL="amqp://host")[0].startswith("DREDGE_REDIS_URL: not set; beside RabbitMQ")


def test_a_url_of_celerys_sentinels_is_refused_with_ours() -> None:
    told = problems(BROKER_URL="sentinel://a:1;sentinel://b:1")
    assert told[0].endswith("Sentinels: redis+sentinel://host:26379,host:26379/mymaster/0")


def celery(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, **{f"DREDGE_{name}": value for name, value in variables.items()}}
    return subprocess.run([*CELERY, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("program", ["worker", "beat"])
def test_a_wrong_configuration_ends_celery_with_a_line_for_each_problem(program: str) -> None:
    ended = celery(program, QWXZ="1", SCAN_LIMIT="many")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "dredge: configuration: DREDGE_QWXZ: no such setting: did you mean DREDGE_WINDOW or DREDGE_WEB_PORT?",
        "dredge: configuration: DREDGE_SCAN_LIMIT: must be a number",
        "dredge: configuration: DREDGE_BROKER_URL: not set; see `dredge check`, or use `dredge up`",
    ]


def test_celerys_report_has_no_secret() -> None:
    said = celery("report", **SECRETS)
    assert said.returncode == 0, said.stderr
    assert "broker_url" in said.stdout and "redbeat_redis_url" in said.stdout
    assert "hunter2" not in said.stdout + said.stderr and "aHVudGVyMg" not in said.stdout


CONF = """
from types import SimpleNamespace
from celery.worker.control import conf
from worker import application
print(conf(SimpleNamespace(app=application), with_defaults=True))
"""


def test_celerys_answer_to_inspect_conf_has_no_secret() -> None:
    """Flower asks each worker for the same."""
    environment = {"PATH": os.defpath, **{f"DREDGE_{name}": value for name, value in SECRETS.items()}}
    command = [sys.executable, "-c", CONF]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.returncode == 0 and "sentinel_kwargs" in said.stdout, said.stderr
    assert "hunter2" not in said.stdout + said.stderr and "aHVudGVyMg" not in said.stdout
