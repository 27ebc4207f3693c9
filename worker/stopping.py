"""Signals that stop a command: SIGINT (Ctrl-C), SIGTERM, and SIGHUP of a terminal that closes.

While a command is loaded, and after its work, a signal ends the process at once.  While it works, the signal
raises `Stopped`, so that transactions are rolled back and embedded servers stop.  This module imports only
small modules, because `worker.command` loads it before everything else.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds until a signal is raised again that Python dropped in a finalizer.
AGAIN_S = 0.02


class Stopped(KeyboardInterrupt):
    """A signal asks the command to stop; `exit_code` is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.exit_code = 128 + number
        super().__init__()


def asks_for_json(arguments: list[str]) -> bool:
    """Return whether the arguments contain `--json`; after `--` they are of another command."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own


def end_when_loading() -> None:
    """Let a signal end the process at once, with one line; silently if a shell asks for completions.

    Signals that the caller ignores stay ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end if "_DREDGE_COMPLETE" in os.environ else _end_with_a_line)


def raise_from_now_on() -> None:
    """Let a signal raise `Stopped`, if `end_when_loading` was called before.  Idempotent."""
    for number in SIGNALS:
        if signal.getsignal(number) is _end_with_a_line:
            signal.signal(number, _raise)
            sys.unraisablehook = _raise_again


def end_from_now_on() -> None:
    """Let a signal end the process at once and silently: its work is done.  Idempotent."""
    for number in SIGNALS:
        if signal.getsignal(number) in (_end_with_a_line, _raise):
            signal.signal(number, _end)


def _end_with_a_line(number: int, frame: FrameType | None) -> None:
    code = 128 + number
    as_json = asks_for_json(sys.argv)
    text = f'{{"error": "stopped", "exit_code": {code}}}' if as_json else "dredge: stopped"
    os.write(2, f"{text}\n".encode())
    os._exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _raise_again(dropped: sys.UnraisableHookArgs) -> None:
    """Raise `Stopped` once more if Python dropped it, as it drops every exception in a finalizer."""
    stopped = dropped.exc_value
    if not isinstance(stopped, Stopped):
        sys.__unraisablehook__(dropped)
        return
    signal.signal(signal.SIGALRM, lambda *_: _raise(stopped.number, None))
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
