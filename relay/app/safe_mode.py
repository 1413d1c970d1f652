"""Safe mode: a box whose start fails stays up without doors, says why, and starts again when there is reason to.

Whoever starts processes would start this one for ever otherwise, and wear the card; the cable goes on working beside
it. Nothing is opened and nothing held, so that what is broken can be repaired meanwhile.
"""

import contextlib
import math
import sys
from pathlib import Path

import trio

from relay.admin.advice import next_step
from relay.app.failed_starts import SafeModeAskedError
from relay.app.infirmary import Infirmary, attend, look_for_room
from relay.app.stopping import StopAsked
from relay.base import log
from relay.base.config import FILE_NAME, load
from relay.base.errors import DamagedError, Fault, NewerFormatError, RelayError, StateLockedError, StorageError
from relay.box.board import status_light
from relay.box.light import Shown
from relay.box.service import Supervisor, passed_sockets
from relay.store.faults import NoRoomError
from relay.store.upgrade import UpgradeError

_ALIVE_S = 5.0
_SOON_S, _LATER_S = 60.0, 3600.0
_WATCHED = (FILE_NAME, "keyring", "root.key")
_LASTING = (DamagedError, NewerFormatError, UpgradeError, SafeModeAskedError)
"""What does not mend by itself."""


class SystemRefusedError(RelayError):
    """The machine refused something that a start needs: a port, a file, memory."""

    code = "start.refused"
    fault = Fault.BOX
    retryable = True


def as_fault(error: RelayError | OSError) -> RelayError:
    """Return `error` as one that has a code."""
    return (
        error
        if isinstance(error, RelayError)
        else SystemRefusedError(f"{error.filename or 'system'}: {error.strerror}")
    )


def stays_up(error: RelayError | OSError) -> bool:
    """Return whether a start that fails with `error` stays up for it, rather than end and say so."""
    if isinstance(error, StateLockedError):
        # Somebody else is there, whom the operator can ask.
        return False
    return Supervisor().present or isinstance(error, DamagedError | NewerFormatError | StorageError | UpgradeError)


async def stay(folder: Path, fault: RelayError) -> bool:
    """Stay up until stopped; return whether a new start was asked for, or is due."""
    sys.stderr.write(f"relay: safe mode: {fault}\n  next: {next_step(fault.code)}\n")
    sys.stderr.flush()
    log.get_logger().critical("app.made_safe", code=fault.code)
    stop, supervisor, light = StopAsked(), Supervisor(), status_light(folder)
    light.show(Shown.ATTENTION)
    async with trio.open_nursery() as workers:
        await workers.start(attend, folder, Infirmary(fault, stop, _name(folder)), stop)
        workers.start_soon(_turn_away)
        workers.start_soon(_try_again, folder, fault, stop)
        supervisor.ready(f"safe mode: {fault}")
        while not stop.asked.is_set():
            supervisor.alive()
            with trio.move_on_after(_ALIVE_S):
                await stop.asked.wait()
        supervisor.stopping(restart=stop.restart)
        workers.cancel_scope.cancel()
    light.release()
    return stop.restart


def _name(folder: Path) -> str:
    try:
        return load(folder).server.name
    except RelayError:
        return ""


async def _turn_away() -> None:
    """Close what comes to the sockets that were passed in: whoever calls tries again later instead of hanging on."""
    sockets = list(passed_sockets().values())
    if sockets:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(passed)) for passed in sockets]
        await trio.serve_listeners(trio.SocketStream.aclose, listeners)


async def _try_again(folder: Path, fault: RelayError, stop: StopAsked) -> None:
    """Ask for a new start once what was wrong may have changed."""
    if fault.code == NoRoomError.code:
        await look_for_room(folder, stop)
        return
    # What is retryable goes away by itself, a port that is taken for example; what has no end may have one in an hour.
    after_s = math.inf if isinstance(fault, _LASTING) else _SOON_S if fault.retryable else _LATER_S
    before = _seen(folder)
    with trio.move_on_after(after_s):
        while True:
            await trio.sleep(_ALIVE_S)
            if _seen(folder) != before:
                break
    stop(True)  # noqa: FBT003 - the operator's callback


def _seen(folder: Path) -> list[tuple[int, int, int] | None]:
    """Return what tells whether somebody corrected the settings or brought a key."""
    seen: list[tuple[int, int, int] | None] = []
    for name in _WATCHED:
        seen.append(None)
        with contextlib.suppress(OSError):
            found = (folder / name).stat()
            seen[-1] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return seen
