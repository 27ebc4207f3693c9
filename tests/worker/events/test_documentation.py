"""docs/reference/events.md: its example works, and it names every event."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from model import registry
from tests.support.patience import eventually
from tests.support.world import World
from tests.worker.broker.running import ROOT
from tests.worker.events.test_message import SCHEMAS, every_type
from worker.events.exchange import EXCHANGE
from worker.events.publisher import Publisher
from worker.events.relay import relay

PAGE = (ROOT / "docs" / "reference" / "events.md").read_text()


def test_every_type_is_listed_with_its_schema() -> None:
    listed = re.findall(r"\| `(registry\.[a-z_.]+)` \| `([a-z_.]+)` \|.*\(schemas/([a-z_.]+)\.json\)", PAGE)
    assert {kind for kind, _, _ in listed} == every_type()
    for kind, key, schema in listed:
        assert kind == f"registry.{key}" == f"registry.{schema}"
        assert Path(SCHEMAS / f"{schema}.json").exists()


def test_the_example_event_is_one() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    example = json.loads(text)
    schema = json.loads((SCHEMAS / "tag.deleted.json").read_text())
    assert set(schema["required"]) <= set(example)
    assert set(schema["properties"]["data"]["required"]) == set(example["data"])


def test_a_service_that_binds_as_documented_hears_of_tags(
    world: World, valkey: str, broker_redis: Any
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    world.tag("v1")
    listening = subprocess.Popen(
        [sys.executable, "-c", code.replace("redis://broker:6379/0", valkey)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        bindings = "dredge:_kombu.binding." + EXCHANGE.name
        eventually(lambda: any("audit" in each for each in broker_redis.smembers(bindings)))
        documented = re.findall(r"add\n`(.*?)` \(key", PAGE)[0].replace(r"\x06\x16", "\x06\x16")
        assert documented in broker_redis.smembers(bindings)
        registry.delete_tag("acme/app", "v1")
        relay(Publisher(valkey, "dredge:"))
        assert listening.stdout is not None
        assert listening.stdout.readline() == "registry.tag.deleted acme/app:v1\n"
    finally:
        listening.kill()
        listening.wait()
