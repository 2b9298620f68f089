"""The console script ``recs``."""

import signal
import sys

from recs._recs import run_cli


def main() -> None:
    """Run the command line and exit with its code."""
    # The command line stops its jobs itself on Ctrl-C; before it listens, the interrupt simply ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_cli(sys.argv))
