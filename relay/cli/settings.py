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
from typing import TYPE_CHECKING, Any

from relay.admin.client import ask
from relay.base import trial
from relay.base.config import FILE_NAME, Config, load
from relay.base.errors import ConfigError, ConflictError, InvalidInputError, RelayError
from relay.base.limits import FROM_AFAR_TRIAL_S, MAX_TRIAL_S, MIN_TRIAL_S
from relay.base.trial import BEFORE, NETWORK_BEFORE, Now, Trial, Uptime
from relay.cli import own_ca
from relay.cli.files import sync_folder, write_whole
from relay.cli.key_move import is_moved, move
from relay.cli.provisioning import refuse_plain_outside

if TYPE_CHECKING:
    from relay.box.network_changes import WayBack
    from relay.cli.network_trial import NetworkChange

_NOTHING_ON_TRIAL = "nothing is on trial"
# As in relay.box.network_addressing, whose library most changes do without.
_NETWORK = "network."


def change(
    folder: Path,
    settings: dict[str, str],
    confirm_s: float | None,
    now: Now = Uptime.now,
    *,
    phrases: tuple[str | None, str | None] = (None, None),
    from_afar: bool = False,
) -> dict[str, Any]:
    """Make `settings` the box's; with `confirm_s` they go back after so many seconds unless `commit` is said.

    Where they name another place for the key, it moves there; `phrases` are the passphrases before and after. Those
    that begin with `network.` are the network service's; whoever comes `from_afar` gets them on trial in any case.

    Raises:
        ConflictError: an earlier change is still on trial, somebody else makes one, or the server's name would change.
        ConfigError: a setting does not fit.
        NetworkRefusedError: the network did not come up so; everything is as it was.
        NetworkUnavailableError: nobody looks after networks here.
    """
    settle(folder, now)
    with _alone(folder):
        return _change(folder, settings, confirm_s, now, phrases, from_afar=from_afar)


def _change(
    folder: Path,
    settings: dict[str, str],
    confirm_s: float | None,
    now: Now,
    phrases: tuple[str | None, str | None],
    *,
    from_afar: bool,
) -> dict[str, Any]:
    ours = {key: text for key, text in settings.items() if not key.startswith(_NETWORK)}
    theirs = {key: text for key, text in settings.items() if key.startswith(_NETWORK)}
    # A box that is new, or whose settings cannot be read, has a network all the same.
    before = load(folder) if ours or not theirs else None
    after = changed(before, ours) if before else None
    if theirs:
        from relay.cli import network_trial

        with network_trial.checked_change(theirs) as network:
            if network is not None:
                refuse_second(folder)
                both = _Both(folder, before, after, network)
                if not from_afar or confirm_s is not None:
                    return both.carry_out(confirm_s, now)
                return {**both.carry_out(FROM_AFAR_TRIAL_S, now), "careful": True}
    if before is None or after is None or after == before:
        return {"changed": False, "restart_needed": False, "restarting": False}
    refuse_second(folder)
    _make_own_ca(folder, before, after)
    if is_moved(before.store, after.store):
        if confirm_s is not None:
            raise ConflictError("where the key is cannot be tried: apply it without a time to go back")
        move(folder, before, after, phrases)
        _forget_ways(folder)
        return {"changed": True, "restart_needed": True, "restarting": _start_again(folder)}
    _forget_ways(folder)
    write_whole(folder / BEFORE, before.render().encode())
    if confirm_s is not None:
        put_on_trial(folder, Trial(now(), 0.0, settings=True), confirm_s)
    write_whole(folder / FILE_NAME, after.render().encode())
    result = {"changed": True, "restart_needed": True, "restarting": _start_again(folder)}
    return result if confirm_s is None else {**result, "goes_back_in_s": confirm_s}


class _Both:
    """A change of the network, and perhaps of the box's own settings with it."""

    def __init__(self, folder: Path, before: Config | None, after: Config | None, network: "NetworkChange") -> None:
        self._folder = folder
        self._before = before
        self._after = after
        self._network = network

    @property
    def _ours(self) -> bool:
        return self._after != self._before

    def carry_out(self, confirm_s: float | None, now: Now) -> dict[str, Any]:
        """Make it; see `change`."""
        folder, network = self._folder, self._network
        if self._before and self._after and is_moved(self._before.store, self._after.store):
            raise ConflictError("where the key is and the network are changed one after the other")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        network.begin(confirm_s or 0.0)
        try:
            keep_ways(folder, network.ways)
            # Also one that is not tried goes back, both parts of it, from a power cut before its end.
            self._put(now, network.wait_s + (confirm_s or 0.0))
            network.carry_out()
            if confirm_s is not None:
                network.prolong(confirm_s)
                self._put(now, confirm_s)
            if self._ours and self._before and self._after:
                _make_own_ca(folder, self._before, self._after)
                write_whole(folder / FILE_NAME, self._after.render().encode())
            if confirm_s is None:
                network.keep()
                _end(folder)
        except BaseException:
            self._undo()
            raise
        result = {
            "changed": True,
            "restart_needed": self._ours,
            "restarting": self._ours and _start_again(folder),
            "interfaces": network.described(),
            "notes": network.notes,
        }
        return result if confirm_s is None else {**result, "goes_back_in_s": confirm_s}

    def _put(self, now: Now, confirm_s: float) -> None:
        put_on_trial(self._folder, Trial(now(), 0.0, self._ours, self._network.checkpoint), confirm_s)

    def _undo(self) -> None:
        try:
            self._network.go_back()
        finally:
            if self._ours:
                _restore(self._folder)
            with suppress(FileNotFoundError):
                _end(self._folder)


def _make_own_ca(folder: Path, before: Config, after: Config) -> None:
    if _shows_own(after) and not _shows_own(before):
        # A box that had a certificate from elsewhere, or none at all, would not start without one.
        own_ca.make_where_lacking(folder, after.server.name)


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
            _go_back(folder, found, now)
            raise ConflictError("the time was up: everything is as it was before")
        if found.checkpoint and not _kept(folder, found):
            _go_back(folder, found, now)
            raise ConflictError("the network service went back by itself: everything is as it was before")
        _end(folder)
    return {"kept": True}


def go_back(folder: Path, now: Now = Uptime.now) -> dict[str, Any]:
    """Take back what is on trial; without a trial, bring back the settings before the last change.

    Raises:
        ConflictError: there is nothing to go back to, or somebody else makes a change.
        NetworkUnavailableError: the last change was one of the network, and nobody looks after it now.
    """
    with _held(folder) as found:
        if found is not None:
            return {"restarting": _go_back(folder, found, now)}
    with _alone(folder):
        return _go_back_untried(folder)


def _go_back_untried(folder: Path) -> dict[str, Any]:
    network = (folder / NETWORK_BEFORE).exists() and _restore_network(folder)
    text = _read(folder / BEFORE)
    if not text and not network:
        raise ConflictError("there are no earlier settings to go back to")
    if not text or text == _read(folder / FILE_NAME):
        if network:
            return {"restarting": False}
        raise ConflictError("the settings are those before the last change already")
    _restore(folder)
    return {"restarting": _start_again(folder)}


def _restore_network(folder: Path) -> bool:
    from relay.cli import network_trial

    return network_trial.restore(folder)


def _kept(folder: Path, found: Trial) -> bool:
    from relay.cli import network_trial

    return network_trial.keep(folder, found.checkpoint)


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
            _go_back(folder, found, now, again=not starting)
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


def keep_ways(folder: Path, ways: "list[WayBack]") -> None:
    """Have the settings of now, and where the network goes back to, be those before the last change."""
    from relay.cli import network_trial

    _forget_ways(folder)
    # Settings that cannot be read are nothing to go back to.
    with suppress(ConfigError):
        write_whole(folder / BEFORE, load(folder).render().encode())
    network_trial.save_ways(folder, ways)


def refuse_second(folder: Path) -> None:
    """Refuse a change beside one that is on trial.

    Raises:
        ConflictError: one is.
    """
    if (folder / trial.FILE_NAME).exists():
        raise ConflictError("a change is on trial: commit keeps it, rollback takes it back")


def put_on_trial(folder: Path, begun: Trial, confirm_s: float) -> None:
    """Have a change go back so many seconds after it was `begun`."""
    made = replace(begun, until_s=begun.begun.seconds + confirm_s)
    write_whole(folder / trial.FILE_NAME, made.render())


def _go_back(folder: Path, found: Trial, now: Now, *, again: bool = True) -> bool:
    """Return to before `found`; whoever holds it calls this. Return whether the relay starts again."""
    if found.settings:
        _restore(folder)
    if found.checkpoint:
        try:
            _take_network_back(folder, found, now)
        except RelayError:
            if found.settings:
                # The network is tried again later; the box need not wait for it.
                write_whole(folder / trial.FILE_NAME, replace(found, settings=False).render())
                if again:
                    _start_again(folder)
            raise
    _end(folder)
    return found.settings and again and _start_again(folder)


def _take_network_back(folder: Path, found: Trial, now: Now) -> None:
    from relay.cli import network_trial

    network_trial.go_back(folder, found.checkpoint, same_start=found.is_of_this_start(now()))


def _restore(folder: Path) -> None:
    data = _read(folder / BEFORE)
    if data and data != _read(folder / FILE_NAME):
        write_whole(folder / FILE_NAME, data)


def _forget_ways(folder: Path) -> None:
    """Where the network goes back to belongs to the change before this one."""
    if (folder / NETWORK_BEFORE).exists():
        (folder / NETWORK_BEFORE).unlink()
        sync_folder(folder)


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
def _alone(folder: Path) -> Iterator[None]:
    """Hold the settings: what two write at once would be one's settings with the other's key, or network."""
    path, busy = folder / FILE_NAME, "somebody else is changing the settings: try again when that is over"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # A new box, whose network service lets one change it at a time; or none that can be read.
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(busy) from None
        if not _is_at(descriptor, path):
            raise ConflictError(busy)
        yield
    finally:
        os.close(descriptor)


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
