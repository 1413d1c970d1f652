"""`relay standby`, and `relay backup restore` from a standby's target."""

import datetime
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.base.errors import ConflictError

if TYPE_CHECKING:
    from relay.app.second_box import Found, Source

SCHEMES = ("nats://", "tls://", "s3://")


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that only concern a standby's target."""
    path = click.Path(path_type=Path)
    for name, kind, text in (
        ("--credentials-file", path, "a target's secrets: user and password, token, seed, or access_key_id and so on"),
        ("--ca", path, "a private CA of the target"),
        ("--endpoint", str, "https://host:port of an S3-compatible store"),
        ("--region", str, "of the bucket"),
        ("--box", str, "the id of the first box, where the target holds several"),
    ):
        command = click.option(name, type=kind, metavar="VALUE", help=text)(command)
    text = "where something at the target is damaged, take what is before it"
    return click.option("--accept-loss", is_flag=True, help=text)(command)


def source_of(targets: Sequence[str], key_file: Path | None, options: Mapping[str, Any]) -> "Source":
    """Return where the copy is, as the command line says.

    Raises:
        ConfigError: it says nonsense.
    """
    from relay.app.second_box import Source
    from relay.base.config import StandbyConfig
    from relay.delivery.standby.key_file import read_key

    if len(targets) > 1 or key_file is None:
        raise click.UsageError("one target, and --key-file with the standby key of the first box")
    box = options["box"] or ""
    if box and not re.fullmatch("[0-9a-f]{16}", box):
        raise click.UsageError("--box takes the 16 digits that the target shows")
    settings = StandbyConfig(
        target=targets[0],
        endpoint=options["endpoint"] or "",
        region=options["region"] or "",
        credentials_file=str(options["credentials_file"] or ""),
        ca=str(options["ca"] or ""),
    )
    return Source(settings=settings, folder=Path(), key=read_key(key_file), box=box, accept_loss=options["accept_loss"])


@click.group(no_args_is_help=True)
def standby() -> None:
    """A second box: what follows to another place, and what opens it there."""


@standby.command("key")
@click.option("--state", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the state folder")
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="FILE", help="a new file for the key")
def key(state: Path, to: Path) -> None:
    """Write the key that opens the copy elsewhere: keep it away from this box, and from the copy."""
    from relay.cli.operate import operate

    try:
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConflictError(f"{to} exists: a key is not written over") from None
    with open(descriptor, "w", encoding="ascii") as file:
        try:
            file.write(operate(state, {"verb": "standby_key"})["line"] + "\n")
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            to.unlink()
            raise
    click.echo(f"{to} opens the copy of this box elsewhere: keep it away from both.")


def make(source: "Source", state: Path, changes: dict[str, str]) -> str:
    """Make a box in `state`; return in words what it holds and lacks."""
    from relay.app.restoring import Restorer
    from relay.app.second_box import make_second_box

    with Restorer(state.absolute(), changes).building() as restorer:
        found = make_second_box(source, restorer)
    return "\n".join([*describe(found), f"next: relay up --state {state}"])


def describe(found: "Found") -> list[str]:
    """Return what a second box holds and lacks, a line each."""
    lacking = found.newest - found.held
    lines = [
        f"This is {found.server} again, with everything up to commit {found.held}, sent {_moment(found.held_ms)}.",
        f"The first box last spoke of commit {found.newest}, {_moment(found.newest_ms)}:"
        + (
            f" {lacking} commit{'s are' if lacking > 1 else ' is'} missing."
            if lacking > 0
            else " nothing it spoke of is missing."
        ),
        f"Files that people sent: {found.files} are here, {len(found.missing_files)} are missing"
        + (
            f": {', '.join(found.missing_files[:5])}{' ...' * (len(found.missing_files) > 5)}"
            if found.missing_files
            else ""
        ),
    ]
    if found.damage:
        lines.append(f"It ends there because of damage: {found.damage}")
    lines += [
        "What came in after that moment, other servers are asked for.",
        "One-time keys were withdrawn: the apps upload new ones by themselves.",
        "Never start the first box again: two boxes with one name and one key destroy each other's conversations.",
    ]
    return lines


def _moment(at_ms: int) -> str:
    if not at_ms:
        return "as the base was made"
    moment = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d} UTC by its clock"
