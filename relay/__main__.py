"""`python -m relay`: the same command line as `./box relay`."""

from relay.cli import main

if __name__ == "__main__":
    main()
