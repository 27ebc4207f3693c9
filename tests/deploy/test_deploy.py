"""The files of `deploy/`: each is read by its own program where that is there, and by what they rest on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from worker.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "dredge"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SYSTEMD = shutil.which("systemd-analyze")
COMPOSE = shutil.which("docker-compose")
# The chart asks for 1.25 or newer; the last is the newest that the schemas know.
KUBERNETES = ("1.25", "1.30", "1.37")
SETTINGS = {f"DREDGE_{field.name.upper()}" for field in fields(Settings)}


def chart(**values: Any) -> dict[str, Any]:
    """What Helm makes of the chart with these values: documents by kind and name."""
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk (PyPI) has no wheel for this machine")
    with helm.Chart.load(str(CHART)) as loaded:
        texts = loaded.render(values, name="gc", namespace="registry").values()
    documents = [each for text in texts for each in yaml.safe_load_all(text) if each]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in documents}


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk (PyPI) has no wheel for this machine")
    found = helm.lint(str(CHART))
    assert found["total_charts_linted"] == 1 and not found["errors"]
    assert [each["error"] for each in found["messages"]] == ["icon is recommended"]


def test_every_variable_in_the_files_is_a_setting() -> None:
    texts = [path.read_text() for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".env", ".service")]
    named = {name for text in texts for name in re.findall(r"\bDREDGE_[A-Z_]+", text)}
    assert "DREDGE_BROKER_URL" in named and named - SETTINGS == {"DREDGE_IMAGE"}


def test_the_chart_runs_workers_and_beats_without_rights_and_initialises_first() -> None:
    made = chart()
    assert set(made) == {"ConfigMap/gc-settings", "Job/gc-init", "Deployment/gc-worker", "Deployment/gc-beat"}
    assert "pre-upgrade" in made["Job/gc-init"]["metadata"]["annotations"]["helm.sh/hook"]
    for part in ("Job/gc-init", "Deployment/gc-worker", "Deployment/gc-beat"):
        check_pod(made[part])
    for part in ("worker", "beat"):
        spec = made[f"Deployment/gc-{part}"]["spec"]
        assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 60
    command = made["Deployment/gc-worker"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[4:6] == ["worker", "--concurrency=2"]
    assert all(isinstance(value, str) for value in made["ConfigMap/gc-settings"]["data"].values())


def check_pod(document: dict[str, Any]) -> None:
    """A pod runs without rights and reads its settings and secrets; a deployment finds its pods."""
    template = document["spec"]["template"]
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["enableServiceLinks"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    references = [next(iter(each.values()))["name"] for each in container["envFrom"]]
    assert references == ["gc-settings", "dredge"]
    if document["kind"] == "Deployment":
        assert document["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_the_chart_has_the_page_and_its_service_where_they_are_asked_for() -> None:
    made = chart(web={"enabled": True, "port": 9000})
    page, service = made["Deployment/gc-web"], made["Service/gc-web"]
    check_pod(page)
    template = page["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["command"] == ["dredge", "web"] and page["spec"]["replicas"] == 1
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "DREDGE_WEB_HOST": "0.0.0.0",
        "DREDGE_WEB_PORT": "9000",
    }
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert service["spec"]["ports"] == [{"name": "http", "port": 9000, "targetPort": "http"}]


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_what_the_chart_makes(version: str) -> None:
    for document in chart(web={"enabled": True}).values():
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose (Debian: docker-compose) is not installed")
def test_compose_accepts_the_file_and_asks_for_what_is_missing() -> None:
    command = [str(COMPOSE), "-f", str(DEPLOY / "compose.yaml"), "--profile", "web", "config"]
    servers = {
        "DREDGE_DATABASE_URL": "postgresql://u@db/x",
        "DREDGE_BROKER_URL": "redis://r",
        "DREDGE_STORAGE": "/s",
    }
    given = {"PATH": os.defpath, **servers}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load(done.stdout)["services"]
    assert all(servers.items() <= service["environment"].items() for service in made.values())
    done = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert done.returncode and "the database of the registry" in done.stderr


def test_the_compose_file_runs_the_procfile_s_commands_read_only() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"init", "worker", "beat", "web"}
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in services.values())
    procfile = yaml.safe_load((ROOT / "Procfile").read_text())
    assert " ".join(services["beat"]["command"]) == procfile["beat"].removeprefix("exec ")
    # Podman divides the words of a health check at their spaces.
    checks = [word for each in services.values() for word in each.get("healthcheck", {}).get("test", ())]
    assert checks and not any(" " in word for word in checks)
    image = (DEPLOY / "Containerfile").read_text()
    assert yaml.safe_load(image.rpartition("\nCMD ")[2]) == procfile["worker"].removeprefix("exec ").split()
    (built,) = {service["build"]["dockerfile"] for service in services.values()}
    assert (ROOT / built).exists()


def test_the_containerfile_copies_what_is_there_and_ends_as_a_user() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert all((ROOT / name).exists() for names in copied for name in names)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 65532:65532"]


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze (Debian: systemd) is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    (program,) = re.findall("^ExecStart=(\\S+)", text, re.MULTILINE)
    assert program in ("/opt/dredge/bin/celery", "/opt/dredge/bin/dredge")
    (tmp_path / unit.name).write_text(text.replace(program, "/bin/true"))
    done = subprocess.run(
        [str(SYSTEMD), "verify", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
