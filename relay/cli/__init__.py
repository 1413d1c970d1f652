"""The command line: the composition root for everything that is not the running box itself.

Nothing heavy is imported here: `console` and `up` live for months and never load the library that parses the rest.
"""

import sys


def main() -> None:
    """Run one command; exit codes are 0 good, 1 a fault said in one line, 2 wrong usage."""
    from relay.cli.lasting import run_lasting

    arguments = sys.argv[1:]
    code = run_lasting(arguments)
    if code is None:
        from relay.cli.commands import run_command

        code = run_command(arguments)
    sys.exit(code)
