"""Changing settings: at once, or on trial, from which they go back by themselves unless somebody says `commit`.

Whoever comes first settles a trial whose time is up: the console, a start of the relay, or any request. A power cut at
any moment leaves the settings before the change or after it, and never a change that nobody can go back from.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from relay.admin.client import ask
from relay.base import trial
from relay.base.config import FILE_NAME, Config, load
from relay.base.errors import ConflictError, InvalidInputError, RelayError
from relay.base.limits import MAX_TRIAL_S, MIN_TRIAL_S
from relay.base.trial import BEFORE, Now, Trial, Uptime
from relay.cli import own_ca
from relay.cli.files import sync_folder, write_whole
from relay.cli.key_move import is_moved, move
from relay.cli.provisioning import refuse_plain_outside

_NOTHING_ON_TRIAL = "nothing is on trial"


def change(
    folder: Path,
    settings: dict[str, str],
    confirm_s: float | None,
    now: Now = Uptime.now,
    *,
    phrases: tuple[str | None, str | None] = (None, None),
) -> dict[str, Any]:
    """Make `settings` the box's; with `confirm_s` they go back after so many seconds unless `commit` is said.

    Where they name another place for the key, it moves there; `phrases` are the passphrases before and after.

    Raises:
        ConflictError: an earlier change is still on trial, or the server's name would change.
        ConfigError: a setting does not fit.
    """
    settle(folder, now)
    before = load(folder)
    after = changed(before, settings)
    if after == before:
        return {"changed": False, "restart_needed": False, "restarting": False}
    _refuse_second(folder)
    if _shows_own(after) and not _shows_own(before):
        # A box that had a certificate from elsewhere, or none at all, would not start without one.
        own_ca.make_where_lacking(folder, after.server.name)
    if is_moved(before.store, after.store):
        if confirm_s is not None:
            raise ConflictError("where the key is cannot be tried: apply it without a time to go back")
        move(folder, before, after, phrases)
        return {"changed": True, "restart_needed": True, "restarting": _start_again(folder)}
    write_whole(folder / BEFORE, before.render().encode())
    if confirm_s is not None:
        _put_on_trial(folder, Trial(now(), 0.0, settings=True), confirm_s)
    write_whole(folder / FILE_NAME, after.render().encode())
    result = {"changed": True, "restart_needed": True, "restarting": _start_again(folder)}
    return result if confirm_s is None else {**result, "goes_back_in_s": confirm_s}


def _shows_own(config: Config) -> bool:
    return (config.federation.tls or config.client.tls) and not config.tls.cert


def changed(before: Config, settings: dict[str, str]) -> Config:
    """Return `before` with `settings` in place.

    Raises:
        ConflictError: the server's name would change.
        ConfigError: a setting does not fit.
    """
    if settings.get("server.name", before.server.name) != before.server.name:
        raise ConflictError("the server name is part of every user's and room's id: it can never change")
    after = before.with_settings(settings)
    refuse_plain_outside(after)
    return after


def commit(folder: Path, now: Now = Uptime.now) -> dict[str, Any]:
    """Keep what is on trial.

    Raises:
        ConflictError: nothing is on trial, or its time was up.
    """
    with _held(folder) as found:
        if found is None:
            raise ConflictError(_NOTHING_ON_TRIAL)
        if not found.left_s(now()):
            _go_back(folder, found)
            raise ConflictError("the time was up: everything is as it was before")
        _end(folder)
    return {"kept": True}


def go_back(folder: Path) -> dict[str, Any]:
    """Take back what is on trial; without a trial, bring back the settings before the last change.

    Raises:
        ConflictError: there is nothing to go back to.
    """
    with _held(folder) as found:
        if found is not None:
            return {"restarting": _go_back(folder, found)}
    try:
        text = (folder / BEFORE).read_text("utf-8")
    except OSError:
        raise ConflictError("there are no earlier settings to go back to") from None
    if text.encode() == _read(folder / FILE_NAME):
        raise ConflictError("the settings are those before the last change already")
    _restore(folder)
    return {"restarting": _start_again(folder)}


def settle(folder: Path, now: Now = Uptime.now, *, starting: bool = False) -> dict[str, Any]:
    """Go back from a trial whose time is up; return whether that was done, and how long one that is on still has.

    Args:
        folder: the state folder.
        now: the time.
        starting: whether this is the start of the relay, which needs no other one.
    """
    if not (folder / trial.FILE_NAME).exists():
        return {"went_back": False, "left_s": None}
    with _held(folder) as found:
        left_s = None if found is None else found.left_s(now())
        if found is not None and not left_s:
            _go_back(folder, found, again=not starting)
            return {"went_back": True, "left_s": None}
    return {"went_back": False, "left_s": left_s}


def confirm_time(value: object) -> float | None:
    """Return how long a trial lasts, in seconds; None: there is none.

    Raises:
        InvalidInputError: it is no number, or out of bounds.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not MIN_TRIAL_S <= value <= MAX_TRIAL_S:
        raise InvalidInputError(f"confirm_s is a number of seconds from {MIN_TRIAL_S} to {MAX_TRIAL_S}")
    return float(value)


def _refuse_second(folder: Path) -> None:
    if (folder / trial.FILE_NAME).exists():
        raise ConflictError("a change is on trial: commit keeps it, rollback takes it back")


def _put_on_trial(folder: Path, begun: Trial, confirm_s: float) -> None:
    made = replace(begun, until_s=begun.begun.seconds + confirm_s)
    write_whole(folder / trial.FILE_NAME, made.render())


def _go_back(folder: Path, found: Trial, *, again: bool = True) -> bool:
    """Return to before `found`; whoever holds it calls this. Return whether the relay starts again."""
    if found.settings:
        _restore(folder)
    _end(folder)
    return found.settings and again and _start_again(folder)


def _restore(folder: Path) -> None:
    data = _read(folder / BEFORE)
    if data and data != _read(folder / FILE_NAME):
        write_whole(folder / FILE_NAME, data)


def _end(folder: Path) -> None:
    (folder / trial.FILE_NAME).unlink()
    sync_folder(folder)


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def _start_again(folder: Path) -> bool:
    try:
        ask(folder, {"verb": "restart"})
    except RelayError:
        # It does not run, or is just starting or stopping: the next start takes the settings as they are now.
        return False
    return True


@contextmanager
def _held(folder: Path) -> Iterator[Trial | None]:
    """Hold the trial, so that one process at a time settles it; None where there is none (any more)."""
    path = folder / trial.FILE_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever held it before may have ended it, and it may even have been followed by another.
        yield trial.pending(folder) if _is_at(descriptor, path) else None
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
