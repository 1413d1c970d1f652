"""The commands that come and go, parsed by click. What they do is in `relay.cli.operate`."""

import errno
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import click

from relay.admin.advice import next_step
from relay.admin.client import NotRunningError
from relay.base.errors import Fault, RelayError, UnreachableError
from relay.cli.backup import backup
from relay.cli.moving import export_user, import_user
from relay.cli.operate import operate
from relay.cli.provisioning import read_password
from relay.cli.second_box import standby
from relay.console import words

_LOOK_EVERY_S = 0.1

state_option = click.option(
    "--state", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the state folder"
)
profile_option = click.option(
    "--profile",
    default="",
    metavar="NAME",
    help="the board it runs on; unless given: this board in /var/lib/doorstep, desk anywhere else",
)
json_option = click.option("--json", "as_json", is_flag=True, help="one JSON object for programs")
password_option = click.option(
    "--password-file", type=click.Path(path_type=Path), metavar="F", help="its first line is the password"
)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    try:
        relay.main(args=list(arguments), prog_name="relay", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.exceptions.Exit as end:
        return end.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fault("interrupted")
    except RelayError as error:
        return _fault(str(error))
    except OSError as error:
        return _fault(f"{error.filename or 'the system'}: {error.strerror}")
    return 0


def _fault(text: str) -> int:
    sys.stderr.write(f"relay: {' '.join(text.split())}\n")
    return 1


def _answer(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(result) if as_json else text)


@click.group(no_args_is_help=True)
def relay() -> None:
    """Doorstep: a family's own messaging provider in a plug-in box."""


@relay.command()
@state_option
@profile_option
@click.option("--headless", is_flag=True, help="never ask in this terminal")
@click.option("--safe", is_flag=True, help="safe mode: serve nobody, answer the console only, until a restart")
def up(state: Path, profile: str, *, headless: bool, safe: bool) -> None:
    """Set the box up if it is new, then serve."""
    from relay.cli.lasting import run_up

    raise click.exceptions.Exit(run_up(state, profile, headless=headless, safe=safe))


@relay.command()
@state_option
@click.option("--port", default="", metavar="TTY", help="a serial port; this terminal unless given")
def console(state: Path, port: str) -> None:
    """The provisioning console alone, on this terminal or a serial port."""
    from relay.cli.lasting import run_console

    raise click.exceptions.Exit(run_console(state, port))


@relay.command()
@state_option
@click.option("--name", required=True, metavar="SERVER_NAME", help="what stands behind the colon of every user's id")
@profile_option
@click.option("--owner", default="", metavar="NAME", help="the first user, who looks after the box")
@password_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="any setting of relay.toml")
@click.option("--federation", default="", metavar="HOST:PORT", help="where other servers reach the box")
@click.option("--client", default="", metavar="HOST:PORT", help="where the family's apps reach the box")
@click.option("--tls-cert", default="", metavar="F", help="certificate chain; an own CA is made without one")
@click.option("--tls-key", default="", metavar="F", help="its key")
@click.option("--tls-ca", default="", metavar="F", help="a private CA to trust beside the system's")
@click.option("--acme", default="", metavar="URL", help="who certifies it (letsencrypt), and yes to their terms")
@click.option("--key-file", default="", metavar="F", help="the root key, best on another device; made if absent")
def provision(state: Path, settings: Sequence[str], password_file: Path | None, **plan: str) -> None:
    """Set a new box up, without questions."""
    fields: dict[str, Any] = {name: value for name, value in plan.items() if value}
    fields["settings"] = _parse_settings(settings)
    if plan["owner"]:
        fields["password"] = _password(password_file)
    elif password_file:
        raise click.UsageError("--password-file is the owner's: give --owner too")
    result = operate(state, {"verb": "provision", **fields})
    click.echo("\n".join(words.provisioned(result)))


def _parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--set {pair}: it is written KEY=VALUE")
        settings[key] = value
    return settings


@relay.group(no_args_is_help=True)
def user() -> None:
    """The people of this household."""


@user.command("add")
@click.argument("name")
@state_option
@password_option
@click.option("--admin", is_flag=True, help="marks who looks after the box")
def add_user(name: str, state: Path, password_file: Path | None, *, admin: bool) -> None:
    """Make an account."""
    fields = {"verb": "user_add", "name": name, "password": _password(password_file), "admin": admin}
    click.echo(operate(state, fields)["user"])


@user.command("list")
@state_option
@json_option
def list_users(state: Path, *, as_json: bool) -> None:
    """Show who lives here."""
    result = operate(state, {"verb": "user_list"})
    _answer(result, "\n".join(words.users(result)), as_json=as_json)


@user.command("passwd")
@click.argument("name")
@state_option
@password_option
def set_password(name: str, state: Path, password_file: Path | None) -> None:
    """Set a new password; the user's devices are signed out."""
    operate(state, {"verb": "user_passwd", "name": name, "password": _password(password_file)})


@user.command("deactivate")
@click.argument("name")
@state_option
def deactivate_user(name: str, state: Path) -> None:
    """Close an account for good."""
    operate(state, {"verb": "user_deactivate", "name": name})


user.add_command(export_user)
user.add_command(import_user)


def _password(file: Path | None) -> str:
    if file is not None:
        return read_password(file)
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask for the password: give --password-file")
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt="The same again")
    return text


relay.add_command(backup)
relay.add_command(standby)


@relay.group(no_args_is_help=True)
def invite() -> None:
    """Invitations to join the household."""


@invite.command("create")
@state_option
@json_option
def create_invite(state: Path, *, as_json: bool) -> None:
    """Make an invitation that one person can use once."""
    result = operate(state, {"verb": "invite_create"})
    shown = {name: value for name, value in result.items() if not name.startswith("qr")}
    _answer(shown, "\n".join([*result["qr"], *words.invitation(result)]), as_json=as_json)


@relay.command()
@state_option
@json_option
@click.option("--wait", "wait_s", type=click.FloatRange(0, 3600), default=0.0, metavar="S", help="for it to run")
def status(state: Path, wait_s: float, *, as_json: bool) -> None:
    """Show what runs and what is queued."""
    result = _wait_until_running(state, wait_s)
    _answer(result, "\n".join(words.status(result)), as_json=as_json)
    if not result["running"]:
        raise NotRunningError("the box is not running")


@relay.command()
@state_option
@json_option
@click.option("--wait", "wait_s", type=click.FloatRange(0, 3600), default=0.0, metavar="S", help="for it to run")
@click.option("--repair", is_flag=True, help="mend a damaged state folder; what cannot be kept is named")
def doctor(state: Path, wait_s: float, *, as_json: bool, repair: bool) -> None:
    """Show what is wrong and what to do next; of a running box also how the world sees it, within 5 s."""
    if repair:
        result = operate(state, {"verb": "repair"})
        _answer(result, "\n".join(result["lines"]), as_json=as_json)
        return
    _wait_until_running(state, wait_s)
    result = operate(state, {"verb": "doctor"})
    _answer(result, "\n".join(words.findings(result)), as_json=as_json)
    faults = sum(finding["level"] == "fault" for finding in result["findings"])
    if faults:
        raise DoctorError(f"{faults} {'fault' if faults == 1 else 'faults'} found")


@relay.command()
@state_option
@click.option("--to", "target", type=click.File("w"), default="-", metavar="FILE", help="where to; unless given: here")
def diagnostics(state: Path, target: IO[str]) -> None:
    """Write a text about the box for whoever helps: names are tags, and no secret or content is in it."""
    target.write(operate(state, {"verb": "diagnostics"})["text"])


class DoctorError(RelayError):
    """The doctor found what has to be mended."""

    code = "doctor.fault"
    fault = Fault.USER


def _wait_until_running(state: Path, wait_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + wait_s
    while True:
        last = time.monotonic() >= deadline
        try:
            result = operate(state, {"verb": "status"})
        except UnreachableError:
            # A box that is just starting or stopping: the next look tells.
            if last:
                raise
        else:
            if result["running"] or last:
                return result
        # A box that starts announces itself to nobody in particular: it has to be looked for.
        threading.Event().wait(_LOOK_EVERY_S)


@relay.command()
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="where a profile.toml of your own lies")
@click.option("--probe", is_flag=True, help="print a candidate profile of a board that nobody described yet")
@click.option("--systemd", is_flag=True, help="print a unit drop-in with the memory this board leaves to the relay")
@click.option("--console", is_flag=True, help="print a drop-in of the console's unit, which reaches the board's key")
@click.option("--watchdog", is_flag=True, help="print a drop-in of systemd itself that feeds the board's watchdog")
@json_option
def board(state: Path | None, *, probe: bool, systemd: bool, console: bool, watchdog: bool, as_json: bool) -> None:
    """Show which board this is and what is known of it."""
    from relay.cli import board as boards

    if probe:
        click.echo(boards.probe())
        return
    found = boards.describe(state)
    chosen = {boards.limits: systemd, boards.reaching: console, boards.feeding: watchdog, boards.render: True}
    show = next(kind for kind, asked in chosen.items() if asked)
    if lines := show(found):
        _answer(found, "\n".join(lines), as_json=as_json)


def _refusal(error: OSError) -> RelayError:
    """Return what the system refused as a fault of the box, with what to do about it."""
    from relay.base.errors import DamagedError, StorageError
    from relay.store.faults import NoRoomError

    kinds: dict[int, type[RelayError]] = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), NoRoomError)
    kinds.update(dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY), DamagedError))
    kind = kinds.get(error.errno or 0, StorageError)
    step = "something else lies there: remove it, or factory-reset" if kind is DamagedError else next_step(kind.code)
    return kind(f"{error.filename or 'the system'}: {error.strerror}; next: {step}")


@relay.command(hidden=True)
@state_option
def ask(state: Path) -> None:
    """Answer one request, a JSON line on standard input, with one on standard output: what the console starts."""
    from relay.base.lines import bad, good, parse_line, render_line

    try:
        reply = good(operate(state, parse_line(sys.stdin.buffer.readline())))
    except RelayError as error:
        reply = bad(error)
    except OSError as error:
        reply = bad(_refusal(error))
    except Exception as error:  # noqa: BLE001 - whoever is at the cable gets an answer, whatever is broken
        reply = bad(RelayError(f"this was not foreseen ({type(error).__name__}); diagnostics tells a helper more"))
    sys.stdout.buffer.write(render_line(reply))
    sys.stdout.flush()


@relay.command()
@click.argument("name")
@json_option
@click.option(
    "--synapse",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PYTHON",
    help="a Python that has matrix-synapse, measured in the same run",
)
@click.option("--events", type=click.IntRange(0), default=100_000, metavar="N", help="flash: in the large database")
@click.option("--quick", is_flag=True, help="flash: only whether it works")
def bench(name: str, synapse: Path | None, events: int, *, as_json: bool, quick: bool) -> None:
    """Measure memory, start, local, flash, federation, offline, or all of them."""
    from relay.cli.bench.flash import QUICK, Scale
    from relay.cli.bench.report import run

    click.echo(run(name, synapse, as_json=as_json, scale=QUICK if quick else Scale(events=events)))
