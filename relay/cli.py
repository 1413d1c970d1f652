"""The command line: the composition root for commands that are not the running box."""

import sys


def main() -> None:
    """Run one command; exit codes are 0 good, 1 a fault said in one line, 2 wrong usage."""
    sys.stderr.write("nothing to run yet\n")
    sys.exit(2)
