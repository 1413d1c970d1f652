"""`relay backup`: one sealed stream out, and a box out of it again."""

import contextlib
import datetime
import getpass
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.base.errors import ConfigError
from relay.base.limits import MIB
from relay.cli import second_box
from relay.cli.archives import PIPE, Bar, Output, Pump, read_archives, size_of

if TYPE_CHECKING:
    from relay.app.backup_chain import Contents
    from relay.store.archive_key import Secret

_ASK_EVERY_S = 0.5
_DAY_S = 24 * 3600.0

state_option = click.option(
    "--state", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the state folder"
)
key_option = click.option(
    "--key-file", type=click.Path(path_type=Path), metavar="F", help="the key of backups: 32 random bytes or more"
)
phrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="F",
    help="its first line is the passphrase of backups; asked for in the terminal without it",
)
json_option = click.option("--json", "as_json", is_flag=True, help="one JSON object for programs")


@click.group(no_args_is_help=True)
def backup() -> None:
    """Copies of the whole box: sealed, compressed, one file or stream."""


@backup.command("create")
@state_option
@click.option("--to", default=PIPE, metavar="FILE", help="a file; - is standard output", show_default=True)
@click.option("--since-last", is_flag=True, help="only what changed since the last backup, if there was one")
@key_option
@phrase_option
@json_option
def create(
    state: Path, to: str, key_file: Path | None, passphrase_file: Path | None, *, since_last: bool, as_json: bool
) -> None:
    """Copy the box, running or not, into a file or a pipe."""
    if to == PIPE and sys.stdout.isatty():
        raise click.UsageError("a backup is not for reading: give --to FILE, or pipe it somewhere")
    secret = _secret(key_file, passphrase_file, new=True)
    result = _create(state, to, secret, since_last=since_last)
    click.echo(json.dumps(result) if as_json else _created(result), err=to == PIPE)


@backup.command("verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...|-")
@key_option
@phrase_option
@json_option
def verify(files: Sequence[str], key_file: Path | None, passphrase_file: Path | None, *, as_json: bool) -> None:
    """Read backups, the full one first, and say whether a box can be made of them."""
    from relay.app.backup_chain import Chain

    secret = _secret(key_file, passphrase_file, new=False)
    chain = Chain()
    with _bar("verifying", files) as bar:
        read_archives(files, secret, chain.take, bar)
        chain.close()
    facts = _facts(chain.contents)
    click.echo(
        json.dumps(facts) if as_json else f"good: {facts['server']} as it was on {facts['made']}:\n  {_held(facts)}"
    )


@backup.command("restore")
@click.argument("files", nargs=-1, required=True, metavar="FILE...|-|TARGET")
@state_option
@key_option
@phrase_option
@click.option("--root-key-file", type=click.Path(path_type=Path), metavar="F", help="the new box's key; made if absent")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="any setting that is other than before")
@click.option("--index-only", is_flag=True, help="put only the index back into a box that lost it and has its journal")
@second_box.source_options
def restore(  # noqa: PLR0917 - one an option
    files: Sequence[str],
    state: Path,
    key_file: Path | None,
    passphrase_file: Path | None,
    root_key_file: Path | None,
    settings: Sequence[str],
    *,
    index_only: bool,
    **elsewhere: Any,  # noqa: ANN401 - one an option
) -> None:
    """Make a box in a folder that does not exist yet: of backups, the full one first, or of a standby's target.

    A target is named as in the settings: nats://host:port/stream, tls://host:port/stream, s3://bucket/prefix.
    """
    changes = _changes(settings)
    if root_key_file is not None:
        changes |= {"store.key_source": "file", "store.key_file": str(root_key_file.absolute())}
    if files[0].startswith(second_box.SCHEMES):
        click.echo(second_box.make(second_box.source_of(files, key_file, elsewhere), state, changes))
        return
    secret = _secret(key_file, passphrase_file, new=False)
    if index_only:
        if root_key_file or settings:
            raise click.UsageError("--index-only changes neither key nor settings")
        click.echo(_restore_index(files, state, secret))
        return
    click.echo(_restore(files, state, secret, changes))


def _create(state: Path, to: str, secret: "Secret", *, since_last: bool) -> dict[str, Any]:
    from relay.cli.operate import operate
    from relay.store.catalogue import keep_catalogue

    key = secret.fresh()
    fields = {
        "verb": "backup_create",
        "key": key.key.hex(),
        "parameters": key.parameters.pack().hex(),
        "since_last": since_last,
    }
    with Output(to, state) as output:
        pump = Pump(output)
        pump.start()
        with _watching(state, pump):
            try:
                result = operate(state, fields, timeout_s=_DAY_S, descriptor=pump.writer)
            finally:
                # Where the output refused, that is the fault to name, not that nobody read the pipe.
                pump.wait()
        output.keep()
    keep_catalogue(state, bytes.fromhex(result["id"]))
    return result


@contextlib.contextmanager
def _watching(state: Path, pump: Pump) -> Iterator[None]:
    """Show how far the backup is."""
    bar, done = Bar("backup"), threading.Event()

    def watch() -> None:
        while not done.wait(_ASK_EVERY_S):
            read = _progress(state)
            if read is None:
                bar.set(pump.done_bytes)
            else:
                bar.whole = read.get("expected_bytes", 0)
                bar.set(read.get("done_bytes", 0))

    watcher = threading.Thread(target=watch, daemon=True)
    if sys.stderr.isatty():
        watcher.start()
    try:
        yield
    finally:
        done.set()
        bar.end()


def _progress(state: Path) -> dict[str, Any] | None:
    from relay.admin.client import ask
    from relay.base.errors import RelayError

    try:
        found: dict[str, Any] = ask(state, {"verb": "status"}, timeout_s=5)["backup"]
    except (RelayError, KeyError):
        return None
    return found


def _restore(files: Sequence[str], state: Path, secret: "Secret", changes: dict[str, str]) -> str:
    from relay.app.restoring import Restorer

    with Restorer(state.absolute(), changes).building() as restorer, _bar("restoring", files) as bar:
        read_archives(files, secret, restorer.take, bar)
        config = restorer.finish()
    facts = _facts(restorer.contents)
    return "\n".join(
        [
            f"{state} is {config.server.name} again, as it was on {facts['made']}:",
            f"  {_held(facts)}",
            "Apps and other servers go on as before; what came after that moment, other servers are asked for.",
            "One-time keys were withdrawn: the apps upload new ones by themselves.",
            "Never start the old box again: two boxes with one name and one key destroy each other's conversations.",
            f"next: relay up --state {state}",
        ]
    )


def _restore_index(files: Sequence[str], state: Path, secret: "Secret") -> str:
    from relay.app.house import key_source
    from relay.app.restoring import IndexRestorer
    from relay.base.config import load

    source = key_source(state, load(state).store, new=False)
    with IndexRestorer(state, source).building() as restorer, _bar("restoring", files) as bar:
        read_archives(files, secret, restorer.take, bar)
        sequence = restorer.finish()
    return "\n".join(
        [
            f"The index of {state} stands at commit {sequence}; the old one is kept as index.db.lost-*.",
            "The next start applies what the journal holds beyond that, and says if something between is missing.",
            f"next: relay up --state {state}",
        ]
    )


def _secret(key_file: Path | None, passphrase_file: Path | None, *, new: bool) -> "Secret":
    from relay.cli.provisioning import read_password
    from relay.store.archive_key import Secret

    if key_file is not None and passphrase_file is not None:
        raise click.UsageError("give --key-file or --passphrase-file, not both")
    if key_file is not None:
        try:
            return Secret.from_file(key_file.read_bytes())
        except FileNotFoundError:
            make = f"make one: head -c 32 /dev/urandom > {key_file}, and keep a copy away from this box"
            raise ConfigError(f"the key file {key_file} does not exist{f'; {make}' if new else ''}") from None
    if passphrase_file is not None:
        return Secret.from_passphrase(read_password(passphrase_file).encode())
    if not os.isatty(2):
        raise click.UsageError("no terminal to ask for the passphrase: give --passphrase-file or --key-file")
    phrase = getpass.getpass("passphrase of the backup: ")
    if new and phrase != getpass.getpass("once more: "):
        raise ConfigError("the two passphrases differ")
    return Secret.from_passphrase(phrase.encode())


def _changes(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--set {pair}: it is written KEY=VALUE")
        found[key] = value
    return found


@contextlib.contextmanager
def _bar(what: str, files: Sequence[str]) -> Iterator[Bar]:
    bar = Bar(what, size_of(files))
    try:
        yield bar
    finally:
        bar.end()


def _facts(contents: "Contents") -> dict[str, Any]:
    head, reached = contents.head, contents.reached
    assert head is not None
    assert reached is not None
    made = datetime.datetime.fromtimestamp(head.made_ms / 1000, datetime.UTC)
    return {
        "server": head.server,
        "made": f"{made:%Y-%m-%d %H:%M:%S} UTC",
        "version": head.version,
        "id": head.backup_id.hex(),
        "backups": contents.backups,
        "sequence": reached.sequence,
        "position": reached.position,
        "row_bytes": contents.rows_bytes,
        "files": contents.files,
        "media_files": contents.media_files,
        "media_bytes": contents.media_bytes,
    }


def _held(facts: dict[str, Any]) -> str:
    return (
        f"{facts['backups']} backup{'s' * (facts['backups'] > 1)} up to change {facts['position']},"
        f" commit {facts['sequence']}:"
        f" {facts['row_bytes'] / MIB:.1f} MiB of rows, {_media(facts['media_files'])}"
        f" ({facts['media_bytes'] / MIB:.1f} MiB), {facts['files']} settings and certificates,"
        f" by release {facts['version']}"
    )


def _media(count: int) -> str:
    return "1 media file" if count == 1 else f"{count} media files"


def _created(result: dict[str, Any]) -> str:
    kind = f"what changed since backup {result['parent'][:8]}" if result["parent"] else "all of it"
    lines = [
        f"backup {result['id'][:8]} of {result['server']}: {kind}, up to change {result['position']},"
        f" {_media(result['media_files'])}, {result['bytes'] / MIB:.1f} MiB"
    ]
    if result["fault"]:
        lines.append(f"the box takes nothing in ({result['fault']}): the backup holds what can still be read")
    lines += [f"left out: {what}" for what in result["left_out"]]
    return "\n".join(lines)
