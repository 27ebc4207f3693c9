"""The program `dredge`: loads the command line so that a signal ends it in one line from the first moment.

Loading takes some tenths of a second, in which Ctrl-C would end in a traceback.
"""

from worker import stopping


def main() -> None:
    """Run `worker.cli` and end the process; after Ctrl-C with exit code 130."""
    stopping.end_when_loading()
    from worker.cli import main as run

    run()
