"""The log: stable dotted event names with facts, as text for people or JSON for machines, without secrets.

log = logs.logger("dredge.collect")
with logs.bound(task_id="7a4c"):
    log.info("repository.collected", repository_id=17, manifests=120, seconds=0.4)
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from worker.settings import Settings

_PASSWORD_IN_URL = re.compile(r"(?P<before>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*):[^\s/@]+(?=@)")
# The first word of a sentence of ours, or of the system, after `DREDGE_CLAIR_PSK: ` or `no credentials: `.
_PROSE = (
    "a add an and another at authorization cannot check correct create each every file give grant has in is"
    " it its make must name names no not of one only or permission put read remove requests run see set start"
    " the there this to two unset use wait with"
)
_NAMED_SECRET = re.compile(
    r"(?P<before>\b[\w-]*(?:password|passwd|secret|token|psk|authorization|access_key|credential)[\w-]*(?<!_file)"
    r"[\"']?\s*[=:]\s*[\"']?(?:Bearer\s+|Basic\s+)?)"
    rf"(?!(?<=: )(?:{_PROSE.replace(' ', '|')})[ .,;:])[^\s\"'&,;)}}]+",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Replace passwords in URLs, and values whose name says that they are secret, by `***`.

    A sentence after a colon stays readable.
    """
    return _NAMED_SECRET.sub(r"\g<before>***", _PASSWORD_IN_URL.sub(r"\g<before>:***", text))


_bound: ContextVar[Mapping[str, object] | None] = ContextVar("bound", default=None)


@contextmanager
def bound(**facts: object) -> Iterator[None]:
    """Add facts, such as IDs, to every line that is logged in the block, including those of libraries."""
    token = _bound.set({**(_bound.get() or {}), **facts})
    try:
        yield
    finally:
        _bound.reset(token)


class EventLogger:
    """Logs an event's name with its facts; facts are plain values."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, event: str, **facts: object) -> None:
        """Log that something was done."""
        self._log(logging.INFO, event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """Log a problem that will be retried."""
        self._log(logging.WARNING, event, facts)

    def error(self, event: str, **facts: object) -> None:
        """Log a problem that an operator should examine."""
        self._log(logging.ERROR, event, facts)

    def exception(self, event: str, **facts: object) -> None:
        """Log an error with the traceback of the current exception."""
        self._log(logging.ERROR, event, facts, exc_info=True)

    def _log(self, level: int, event: str, facts: dict[str, object], exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"facts": facts}, exc_info=exc_info)


def logger(name: str = "dredge") -> EventLogger:
    """A logger of events below `dredge`."""
    return EventLogger(name if name.startswith("dredge") else f"dredge.{name}")


class TextFormatter(logging.Formatter):
    """`2027-01-31T12:00:00.123+00:00 info repository.collected repository_id=17 manifests=120`"""

    def format(self, record: logging.LogRecord) -> str:
        words = [_time(record), record.levelname.lower(), record.getMessage()]
        words += [f"{name}={_shown(value)}" for name, value in _facts(record).items()]
        if record.exc_info:
            words.append("\n" + self.formatException(record.exc_info))
        return masked(" ".join(words))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, event, then the facts."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": masked(record.getMessage()),
        }
        for name, value in _facts(record).items():
            line.setdefault(name, _clean(name, value))
        if record.exc_info:
            line["traceback"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, default=lambda value: masked(str(value)))


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Write every record, including those of libraries, to standard error in the configured form.

    A second call replaces the first.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root.setLevel(max(logging.WARNING, level))
    for name in ("dredge", "celery", "redbeat"):
        logging.getLogger(name).setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _facts(record: logging.LogRecord) -> dict[str, object]:
    """Return the bound facts, Celery's facts of a task, and the line's own facts; later ones win."""
    celery, own = getattr(record, "data", None), getattr(record, "facts", None)
    task = {"task": celery.get("name"), "task_id": celery.get("id")} if isinstance(celery, dict) else {}
    return {**(_bound.get() or {}), **task, **(own if isinstance(own, dict) else {})}


def _clean(name: str, value: object) -> object:
    """Return the value with secrets masked, whether in the text or named by the key."""
    if isinstance(value, str):
        return masked(f"{name}={value}").removeprefix(f"{name}=")
    if isinstance(value, (list, tuple)):
        return [_clean(name, part) for part in value]
    if isinstance(value, dict):
        return {str(key): _clean(str(key), part) for key, part in value.items()}
    return value


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = value if isinstance(value, str) else str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[\s"=]', text) else text
