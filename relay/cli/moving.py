"""`relay user export` and `relay user import`: a person moves to another box."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from relay.base.errors import InvalidInputError
from relay.cli.provisioning import read_password

if TYPE_CHECKING:
    from relay.cli.moves import Arrival, Departure
    from relay.store.archive_key import Secret

_MAX_KEY_FILE_BYTES = 4096
_state = click.option("--state", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the state folder")
_json = click.option("--json", "as_json", is_flag=True, help="one JSON object for programs")
_passphrase_file = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), metavar="F", help="its first line seals the file"
)
_key_file = click.option(
    "--key-file", type=click.Path(path_type=Path), metavar="F", help="32 bytes or more that seal the file"
)


@click.command("export")
@click.argument("name")
@_state
@click.option("--to", "target", required=True, metavar="FILE", help="the sealed file, or - for standard output")
@click.option("--invite", default="", metavar="USER", help="the new account, invited to every room that allows it")
@_passphrase_file
@_key_file
@_json
def export_user(name: str, state: Path, target: str, invite: str, *, as_json: bool, **seal: Path | None) -> None:
    """Pack an account into one sealed file, for another box."""
    import trio

    from relay.cli.luggage import LuggageWriter
    from relay.cli.moves import asking, depart

    writer = LuggageWriter(None if target == "-" else Path(target), sys.stdout.buffer, _secret(**seal))

    async def run() -> "Departure":
        async with asking(state) as question:
            return await depart(question, name, writer, invite, _progress)

    departure = trio.run(run)
    report = json.dumps(_described(departure)) if as_json else "\n".join(words_of_departure(departure, invite))
    click.echo(report, err=target == "-")


@click.command("import")
@click.argument("file")
@_state
@click.option("--as", "name", default="", metavar="NAME", help="the account here; its old name unless given")
@click.option(
    "--password-file", type=click.Path(path_type=Path), metavar="F", help="makes the account if there is none"
)
@_passphrase_file
@_key_file
@_json
def import_user(
    file: str, state: Path, name: str, password_file: Path | None, *, as_json: bool, **seal: Path | None
) -> None:
    """Unpack an account that was exported from another box, and join its rooms again."""
    import trio

    from relay.cli.luggage import Luggage
    from relay.cli.moves import Account, arrive, asking

    secret = _secret(**seal)
    account = Account(name, "" if password_file is None else read_password(password_file))
    with _opened(file, state) as content:
        luggage = Luggage(content, secret)

        async def run() -> "Arrival":
            async with asking(state) as question:
                return await arrive(question, luggage, account, _progress)

        arrival = trio.run(run)
    click.echo(json.dumps(asdict(arrival)) if as_json else "\n".join(words_of_arrival(arrival)))


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _secret(passphrase_file: Path | None, key_file: Path | None) -> "Secret":
    from relay.store.archive_key import Secret

    if (passphrase_file is None) == (key_file is None):
        raise click.UsageError("give either --passphrase-file or --key-file")
    if key_file is not None:
        with key_file.open("rb") as file:
            return Secret.from_file(file.read(_MAX_KEY_FILE_BYTES))
    assert passphrase_file is not None
    return Secret.from_passphrase(read_password(passphrase_file).encode())


@contextmanager
def _opened(file: str, state: Path) -> Iterator[BinaryIO]:
    if file != "-":
        with open(file, "rb") as content:
            yield content
        return
    if not state.is_dir():
        raise InvalidInputError(f"{state} does not exist")
    # It is read twice. What waits here is sealed, has no name, and is gone with this process.
    with tempfile.TemporaryFile(dir=state) as waiting:
        shutil.copyfileobj(sys.stdin.buffer, waiting)
        yield waiting


def _described(departure: "Departure") -> dict[str, Any]:
    contents = departure.contents
    return {
        "user": contents.user,
        "bytes": departure.size_bytes,
        "packed": contents.counts,
        "rooms": departure.rooms,
    }


def words_of_departure(departure: "Departure", invited: str) -> list[str]:
    """Return what was packed, in plain words."""
    counts, user = departure.contents.counts, departure.contents.user
    picture = " with picture" if counts.get("picture") else ""
    lines = [
        f"{user} is packed: {departure.size_bytes} bytes",
        f"in it: profile{picture}, {counts.get('data', 0)} pieces of account data, {counts.get('keys', 0)} backed-up"
        f" room keys, {len(departure.rooms)} rooms",
        "not in it: messages, which stay in their rooms; devices and cross-signing keys, which belong to the old name",
    ]
    for outcome, words in (
        ("invited", "invited"),
        ("there", "there already"),
        ("later", "box not running, not invited"),
    ):
        rooms = [room for room in departure.rooms if room.get("outcome") == outcome]
        if rooms:
            lines.append(f"{words}: {', '.join(map(_name, rooms))}")
    lines += [
        f"not invited to {_name(room)}: {room['why']}" for room in departure.rooms if room.get("outcome") == "refused"
    ]
    closed = [room for room in departure.rooms if room["join_rule"] != "public" and room["membership"] == "join"]
    if closed and not invited:
        lines.append(
            f"{len(closed)} rooms let in only who is invited: run this again with --invite and the new user's id,"
            " once that account exists"
        )
    led = [room for room in departure.rooms if room.get("power", 0) >= 50]
    if led:
        lines.append(f"before the old account goes, give the new one its power in: {', '.join(map(_name, led))}")
    return lines


def words_of_arrival(arrival: "Arrival") -> list[str]:
    """Return what came and what the person has to do, in plain words."""
    counts = arrival.counts
    new = "a new account" if arrival.made else "an account that was here"
    lines = [
        f"{arrival.former} is now {arrival.user}, {new}",
        f"came: {counts.get('profile', 0)} profile fields, {counts.get('data', 0)} pieces of account data,"
        f" {counts.get('rules', 0)} set of push rules, {counts.get('backup_keys', 0)} backed-up room keys",
    ]
    if counts.get("kept"):
        lines.append(f"kept as they are here: {counts['kept']} (a second import changes nothing)")
    for outcome, words in _OUTCOMES:
        rooms = [room for room in arrival.rooms if room["outcome"] == outcome]
        if rooms:
            lines.append(f"{words}: {', '.join(map(_name, rooms))}")
    return lines + _steps(arrival)


_OUTCOMES = (
    ("joined", "joined again"),
    ("there", "there already"),
    ("invite", "needs an invitation"),
    ("silent", "nobody who could let it in answered"),
    ("later", "not tried, the box is not running"),
    ("refused", "refused"),
)


def _steps(arrival: "Arrival") -> list[str]:
    outcomes = {room["outcome"] for room in arrival.rooms}
    steps = ["log in with an app, on every device anew: the old devices belong to the old account"]
    if arrival.secrets:
        steps.append("enter the recovery key there: it opens the key backup, and with it old encrypted messages")
    else:
        steps.append(
            "this account had secret storage or a key backup of its own: the old one stayed behind."
            " Save the room keys to a file in the old app and open it in the new one"
        )
    steps.append("set up cross-signing anew and verify devices and people again: signatures belong to the old name")
    if "invite" in outcomes:
        steps.append(
            f"for invitations run on the old box: relay user export NAME --invite {arrival.user},"
            " or ask somebody in the room; then import again"
        )
    if outcomes & {"silent", "later"}:
        steps.append("import the same file again while the box runs and the others can be reached")
    if any(room.get("encrypted") and room["outcome"] == "joined" for room in arrival.rooms):
        steps.append("in encrypted rooms new messages can be read from now on; people there see a new, unverified user")
    if any(room.get("power", 0) >= 50 for room in arrival.rooms):
        steps.append("let the old account give the new one its power in the rooms it looks after, before it goes")
    return ["what to do now:", *(f"- {step}" for step in steps)]


def _name(room: dict[str, Any]) -> str:
    return str(room.get("name") or room["room"])
