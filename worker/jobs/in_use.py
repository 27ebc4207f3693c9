"""Load the list of digests that run somewhere: from a file, an HTTP endpoint, or a Kubernetes cluster."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from model.db.connection import connection
from model.errors import RegistryError
from model.in_use import replace_in_use
from worker import logs
from worker.settings import Settings

log = logs.logger("dredge.in_use")

KUBERNETES = "kubernetes"
API = "https://kubernetes.default.svc"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAGE = 500
TIMEOUT_S = 20.0
_DIGEST = re.compile(r"\b(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\b")


class InUseSourceUnavailable(RegistryError):
    """The source of the digests in use did not answer as it should: the list from before stays."""


def load_in_use(settings: Settings) -> int:
    """Replace the list of digests in use with the source's current list.  Returns its length.

    Without a configured source, returns 0 and changes nothing.  Raises `InUseSourceUnavailable`, and
    `EmptyInUseList` if the source names no digest: an empty list is more likely an error than a cluster in
    which nothing runs.  Idempotent.
    """
    if not settings.in_use_source:
        return 0
    # Read completely before the transaction begins: no transaction is open while the network is used.
    digests = set(read_source(settings.in_use_source))
    with connection():
        count = replace_in_use(digests)
    log.info("in_use.loaded", digests=count)
    return count


def read_source(source: str) -> list[str]:
    """Return every digest that the source names.  A source is a path, an http(s) URL, or `kubernetes`."""
    try:
        if source == KUBERNETES:
            return list(_running_in_cluster())
        if source.startswith(("http://", "https://")):
            return _DIGEST.findall(_get(source))
        return _DIGEST.findall(Path(source.removeprefix("file://")).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, httpx.HTTPError) as error:
        raise InUseSourceUnavailable(source=source, error=f"{type(error).__name__}: {error}") from error


def _get(url: str, **options: Any) -> str:
    answer = httpx.get(url, timeout=TIMEOUT_S, **options)
    answer.raise_for_status()
    return answer.text


def _running_in_cluster() -> Iterator[str]:
    """Yield the image of every container of every pod in the cluster in which this process runs.

    Uses the Kubernetes API; the service account must be allowed to list pods.
    """
    if not (ACCOUNT / "token").exists():
        raise ValueError(f"{ACCOUNT} does not exist or is empty, so this process does not run in a pod")
    yield from read_pods(
        API,
        token=(ACCOUNT / "token").read_text().strip(),
        authority=str(ACCOUNT / "ca.crt"),
    )


def read_pods(url: str, *, token: str, authority: str | None = None) -> Iterator[str]:
    """Yield the image references of all pods from the Kubernetes API at `url`, page by page."""
    more = ""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(timeout=TIMEOUT_S, verify=_trust(authority), headers=headers) as client:
        while True:
            answer = client.get(f"{url}/api/v1/pods", params={"limit": PAGE, "continue": more})
            answer.raise_for_status()
            page = answer.json()
            for pod in page["items"]:
                yield from _of_pod(pod)
            more = page.get("metadata", {}).get("continue", "")
            if not more:
                return


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    """Yield the images that a pod's containers run, and those that its specification names by digest."""
    for part, keys in (("status", _STATUSES), ("spec", _CONTAINERS)):
        for key in keys:
            for container in pod.get(part, {}).get(key) or ():
                for name in ("imageID", "image"):
                    yield from _DIGEST.findall(container.get(name) or "")


_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def _trust(authority: str | None) -> Any:
    return True if authority is None else ssl.create_default_context(cafile=authority)
