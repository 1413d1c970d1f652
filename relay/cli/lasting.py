"""The commands that live for months: `up` and `console`. Bare Python; everything heavier is loaded when needed."""

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.base.errors import ConfigError, RelayError
from relay.cli.options import read_options

if TYPE_CHECKING:
    from relay.cli.child import ChildOperator

# As in relay.base.trial, which a console that nobody talks to does not load.
TRIAL = "relay.toml.trial"
# As in relay.cli.reset, which a box that starts needs after a power cut only.
RESET = "reset"

_OPTIONS = {
    "up": {"state": True, "profile": True, "headless": False, "safe": False},
    "console": {"state": True, "port": True},
}


def run_lasting(arguments: Sequence[str]) -> int | None:
    """Run `up` or `console`; None where `arguments` are something else, or need to be explained."""
    verb = arguments[0] if arguments else ""
    options = read_options(arguments[1:], _OPTIONS.get(verb, {}))
    if options is None:
        return None
    state = Path(options["state"])
    try:
        if verb == "console":
            return run_console(state, options.get("port", ""))
        return run_up(state, options.get("profile", ""), headless="headless" in options, safe="safe" in options)
    except RelayError as error:
        words = str(error)
    except OSError as error:
        words = f"{error.filename or 'the system'}: {error.strerror}"
    sys.stderr.write(f"relay: {' '.join(words.split())}\n")
    return 1


def run_up(state: Path, profile: str, *, headless: bool, safe: bool = False) -> int:
    """Set the box up if it is new, serve until it is stopped, start again if an operator asks; return the exit code.

    Args:
        state: the state folder.
        profile: the board of a new box; empty: what is usual in this folder.
        headless: nobody is at this terminal.
        safe: serve nobody, and answer the local operator only.

    Raises:
        RelayError: the box could not be set up or could not serve.
    """
    import datetime

    from relay.box.profile import load_profile
    from relay.cli import own_ca
    from relay.cli.files import provisioned
    from relay.cli.house import run_house

    if (state / RESET).exists():
        from relay.cli import reset

        reset.finish(state)
    if profile:
        load_profile(profile)
    chosen = ["--profile", profile] if profile else []
    arguments = ["--state", str(state), *chosen, *(["--headless"] if headless else [])]
    if not provisioned(state):
        if headless or not os.isatty(0):
            raise ConfigError(_how_to_set_up(state))
        if not set_up_here(state, profile):
            return 1
        # A process that has only ever served is smaller than one that has also asked questions.
        return os.execv(sys.executable, [sys.executable, "-m", "relay", "up", *arguments])  # noqa: S606 - itself, again
    if (state / TRIAL).exists():
        settle_before_start(state)
    if own_ca.is_due(state, datetime.datetime.now(datetime.UTC)):
        # A process of its own: the certificate library would stay in memory for as long as the box runs.
        # What keeps it from being renewed is said by the start itself, or the old one is better than none.
        with contextlib.suppress(RelayError):
            ask_child(state, {"verb": "renew_certificate"})
    if not run_house(state, safe=safe):
        return 0
    return os.execv(sys.executable, [sys.executable, "-m", "relay", "up", *arguments])  # noqa: S606 - itself, again


def settle_before_start(state: Path) -> None:
    """Go back from a trial whose time is up, as far as that can be done now."""
    from relay.base.trial import pending
    from relay.cli import settings

    found = pending(state)
    # Flash that takes no writes is no reason not to serve with the settings as they are, nor is a network that nobody
    # can be asked about yet; the console tries again.
    with contextlib.suppress(OSError, RelayError):
        if found is not None and found.checkpoint:
            # A process of its own: the network's library would stay in memory for as long as the box runs.
            ask_child(state, {"verb": "settle"})
        else:
            settings.settle(state, starting=True)


def _how_to_set_up(state: Path) -> str:
    from relay.box.board import own_profile
    from relay.cli.usual import is_appliance

    command = f"relay provision --state {state} --name SERVER_NAME --owner NAME --password-file F"
    if not is_appliance(state):
        return f"{state} is not a box yet: {command} makes it one"
    ports = [port.dev for port in own_profile(state)[1].console if Path(port.dev).exists()]
    cable = f"a cable at {' or '.join(ports)}, any key, setup; or " if ports else ""
    return f"this box is not set up yet: {cable}{command}"


def set_up_here(state: Path, profile: str = "") -> bool:
    """Ask everything in this terminal; return whether a box came of it."""
    from relay.box.serial_port import TerminalPort
    from relay.console.station import Station

    _end_on_sigterm()
    return Station(
        TerminalPort, lambda: _operator(state, profile, quiet=True), until_applied=True, stays=False, locks=False
    ).run(greet=True)


def run_console(state: Path, port: str) -> int:
    """Serve the console on the serial port `port`, or in this terminal; return the exit code.

    Raises:
        RelayError: there is no such port.
    """
    from relay.box.serial_port import SerialPort, TerminalPort
    from relay.cli.board_button import find_board_button, shares_its_line
    from relay.console.presence import Presence
    from relay.console.station import Station

    def settle_in() -> float | None:
        return trial_left_s(state)

    _end_on_sigterm()
    if port:
        presence = Presence(lambda: find_board_button(state), time.monotonic)
        shared = functools.cache(lambda: shares_its_line(state))
        Station(
            lambda: SerialPort(port, shared=shared),
            lambda: _operator(state, quiet=False),
            presence=presence,
            settle_in=settle_in,
        ).run()
    else:
        Station(TerminalPort, lambda: _operator(state, quiet=True), stays=False, locks=False, settle_in=settle_in).run(
            greet=True
        )
    return 0


def trial_left_s(state: Path) -> float | None:
    """Return in how many seconds a change of the settings goes back, None where none waits to be said right."""
    if not (state / TRIAL).exists():
        return None
    from relay.base.trial import Uptime, pending

    found = pending(state)
    return None if found is None else found.left_s(Uptime.now())


def _operator(state: Path, profile: str = "", *, quiet: bool) -> "ChildOperator":
    from relay.cli.child import ChildOperator

    planned = {"profile": profile} if profile else {}
    return ChildOperator(state, quiet=quiet, planned=planned, from_afar=quiet and is_from_afar())


def is_from_afar(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether whoever sits at this terminal may have come over the network, and lose it with its settings."""
    if environment.get("SSH_CONNECTION"):
        return True
    with contextlib.suppress(OSError):
        # sudo forgets the variable; a console of the machine itself is no pseudo-terminal.
        return os.ttyname(0).startswith("/dev/pts/")
    return False


def _end_on_sigterm() -> None:
    # SystemExit instead of sudden death: a terminal in raw mode must be given back.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))


def ask_child(state: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the result of one request, carried out by a process that ends with it.

    Raises:
        RelayError: as the request's.
    """
    import subprocess

    from relay.base.lines import parse_line, render_line, result_of
    from relay.cli.child import command_for

    ended = subprocess.run(command_for(state), input=render_line(fields), stdout=subprocess.PIPE, check=False)  # noqa: S603
    return result_of(parse_line(ended.stdout or b"{}"))
