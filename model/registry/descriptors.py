"""The descriptor of a stored manifest, as an index of referrers has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from model.manifest import FoundManifest


@dataclass(frozen=True)
class ReferrerDescriptor:
    """The entry of one manifest in a list of referrers."""

    media_type: str
    digest: str
    size: int
    artifact_type: str | None
    annotations: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON of the OCI image specification."""
        written: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            written["artifactType"] = self.artifact_type
        if self.annotations:
            written["annotations"] = self.annotations
        return written


def describe(found: FoundManifest) -> ReferrerDescriptor:
    """Return the descriptor of a manifest; if its text cannot be parsed, from its row alone."""
    fields = _fields(found.text)
    config = fields.get("config")
    fallback = config.get("mediaType") if isinstance(config, dict) else None
    kind = found.artifact_type or fields.get("artifactType") or fallback
    annotations = fields.get("annotations")
    return ReferrerDescriptor(
        media_type=found.media_type,
        digest=found.digest,
        size=len(found.text.encode()),
        artifact_type=kind if isinstance(kind, str) else None,
        annotations=_texts(annotations) if isinstance(annotations, dict) else {},
    )


def _fields(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _texts(annotations: dict[Any, Any]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if isinstance(value, str)}
