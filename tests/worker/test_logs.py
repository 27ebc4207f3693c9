"""The log and what commands print: names with facts, and nothing secret."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from worker import logs
from worker.cli import output
from worker.settings import Settings


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def _logged(log_format: str, *events: tuple[str, dict[str, object]]) -> list[str]:
    stream = io.StringIO()
    logs.configure(Settings(log_format=log_format), stream)
    for event, facts in events:
        logs.logger("test").info(event, **facts)
    return stream.getvalue().splitlines()


def test_text_has_the_event_and_its_facts() -> None:
    (line,) = _logged("text", ("blob.erased", {"digest": "sha256:ab", "bytes": 7, "why": "two words"}))
    assert line.endswith('info blob.erased digest=sha256:ab bytes=7 why="two words"')


def test_every_line_has_its_date_and_zone() -> None:
    (text,) = _logged("text", ("x", {}))
    (as_json,) = _logged("json", ("x", {}))
    for time in (text.split()[0], json.loads(as_json)["time"]):
        assert datetime.fromisoformat(time).utcoffset() == timedelta(0) and len(time) == 29


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_is_bound_is_on_every_line_of_libraries_too(log_format: str) -> None:
    stream = io.StringIO()
    logs.configure(Settings(log_format=log_format), stream)
    with logs.bound(task_id="7a4c", repository_id=17):
        with logs.bound(batch="collect-1"):
            logs.logger("test").info("inside", repository_id=18)
        logging.getLogger("a.library").warning("careful")
    logging.getLogger("celery.app.trace").info("Task done", extra={"data": {"id": "99", "name": "a.task"}})
    logs.logger("test").info("outside")
    inside, library, celery, outside = stream.getvalue().splitlines()
    if log_format == "json":
        found = [json.loads(line) for line in (inside, library, celery, outside)]
        assert (found[0]["task_id"], found[0]["repository_id"], found[0]["batch"]) == (
            "7a4c",
            18,
            "collect-1",
        )
        assert (found[1]["event"], found[1]["task_id"], "batch" in found[1]) == ("careful", "7a4c", False)
        assert (found[2]["task"], found[2]["task_id"]) == ("a.task", "99")
        assert "task_id" not in found[3]
    else:
        assert inside.endswith("info inside task_id=7a4c repository_id=18 batch=collect-1")
        assert library.endswith("warning careful task_id=7a4c repository_id=17")
        assert celery.endswith("info Task done task=a.task task_id=99")
        assert outside.endswith("info outside")


def test_json_is_one_object_a_line() -> None:
    (line,) = _logged("json", ("blob.erased", {"bytes": 7, "repositories": [1, 2]}))
    found = json.loads(line)
    assert found["event"] == "blob.erased"
    assert found["bytes"] == 7
    assert found["repositories"] == [1, 2]


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "facts",
    [
        {"url": "postgresql://quay:hunter2@db/quay"},
        {"url": "redis://:hunter2@cache:6379/0"},
        {"url": "s3://bucket/prefix?secret_access_key=hunter2&region=x"},
        {"password": "hunter2"},
        {"header": "Authorization: Bearer hunter2"},
        {"settings": {"clair_psk": "hunter2"}},
        {"error": "could not connect: token='hunter2'"},
    ],
)
def test_secrets_are_masked(log_format: str, facts: dict[str, object]) -> None:
    (line,) = _logged(log_format, ("something.failed", facts))
    assert "hunter2" not in line
    assert "***" in line


def test_a_url_without_a_password_stays_readable() -> None:
    assert logs.masked("redis://cache:6379/0 sha256:abc") == "redis://cache:6379/0 sha256:abc"


def texts(root: str) -> Iterator[str]:
    """Every text in the code below `root`; what an f-string inserts is a word of a sentence."""
    for path in Path(root).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "is so" for part in node.values]
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("root", ["model", "worker"])
def test_no_advice_of_ours_is_masked(root: str) -> None:
    assert [text for text in texts(root) if ": ***" in logs.masked(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "DREDGE_CLAIR_PSK: must be base64",
        "DREDGE_CLAIR_PSK_FILE: /run/secrets/psk cannot be read: No such file or directory",
        "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "Storage directory /etc/passwd: Not a directory",
        "s3://bucket?credentials_file=/etc/dredge/aws",
    ],
)
def test_a_sentence_after_a_colon_and_the_name_of_a_file_stay_readable(text: str) -> None:
    assert logs.masked(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password: hunter2 is wrong", "password: *** is wrong"),
        ("token: seehunter2 now", "token: *** now"),
        ("psk=set,x", "psk=***,x"),
    ],
)
def test_a_secret_beside_a_sentence_is_masked(text: str, shown: str) -> None:
    assert logs.masked(text) == shown


def test_tracebacks_are_masked() -> None:
    stream = io.StringIO()
    logs.configure(Settings(log_format="json"), stream)
    try:
        raise ValueError("postgresql://u:hunter2@h/d")
    except ValueError:
        logs.logger().exception("task.failed")
    assert "hunter2" not in stream.getvalue()


def test_a_missing_url_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, output.connected(Settings()):
        pass
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "DREDGE_DATABASE_URL is not set" in message
    assert "dredge embedded --" in message
