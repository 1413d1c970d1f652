"""The commands that live for months: `up` and `console`. Bare Python; everything heavier is loaded when needed."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay.base.errors import ConfigError, RelayError
from relay.cli.options import read_options

_UP = {"state": True, "profile": True, "headless": False}


def run_lasting(arguments: Sequence[str]) -> int | None:
    """Run `up`; None where `arguments` are something else, or need to be explained."""
    verb = arguments[0] if arguments else ""
    options = read_options(arguments[1:], {"up": _UP}.get(verb, {}))
    if options is None:
        return None
    state = Path(options["state"])
    try:
        return run_up(state, options.get("profile", "desk"), headless="headless" in options)
    except RelayError as error:
        sys.stderr.write(f"relay: {' '.join(str(error).split())}\n")
        return 1


def run_up(state: Path, profile: str, *, headless: bool) -> int:
    """Set the box up if it is new, serve until it is stopped, start again if an operator asks; return the exit code.

    Raises:
        RelayError: the box could not be set up or could not serve.
    """
    from relay.cli import reset
    from relay.cli.house import run_house
    from relay.cli.provisioning import provisioned

    if state.is_dir():
        reset.finish(state)
    if not provisioned(state):
        raise ConfigError(f"{state} is not a box yet; set it up: relay provision --state {state} --name SERVER_NAME")
    # A process of its own: the certificate library would stay in memory for as long as the box runs.
    ask_child(state, {"verb": "renew_certificate"})
    if not run_house(state):
        return 0
    arguments = ["--state", str(state), "--profile", profile, *(["--headless"] if headless else [])]
    return os.execv(sys.executable, [sys.executable, "-m", "relay", "up", *arguments])  # noqa: S606 - itself, again


def ask_child(state: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the result of one request, carried out by a process that ends with it.

    Raises:
        RelayError: as the request's.
    """
    from relay.admin.lines import parse_line, render_line, result_of

    command = [sys.executable, "-m", "relay", "ask", "--state", str(state)]
    ended = subprocess.run(command, input=render_line(fields), stdout=subprocess.PIPE, check=False)  # noqa: S603
    return result_of(parse_line(ended.stdout or b"{}"))
