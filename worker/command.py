"""The program `dredge`: loads the command line so that Ctrl-C ends it in one line from the first moment.

Loading takes some tenths of a second, in which Ctrl-C would end in a traceback.
"""

import sys


def main() -> None:
    """Run `worker.cli` and end the process; after Ctrl-C with exit code 130."""
    try:
        from worker.cli import main as run

        run()
    except KeyboardInterrupt:
        text = '{"error": "stopped"}' if "--json" in sys.argv else "dredge: stopped"
        sys.stderr.write(f"{text}\n")
        sys.exit(130)
