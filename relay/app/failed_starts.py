"""Starts that failed in a row, and what follows from them: after three the next one is in safe mode.

`DIR/failed-starts` has a line for each. `slots.sh failed` adds it after the service ended other than well
(systemd.service(5), ExecStopPost=), so that a start that works writes nothing, and a power cut counts for nothing.
Another release, a person who says `restart`, and a minute of serving end the count. A line `asked` asks for safe mode
outright.
"""

import os
from contextlib import suppress
from pathlib import Path

import trio

from relay.base.config import FILE_NAME as SETTINGS
from relay.base.errors import Fault, RelayError
from relay.base.trial import BEFORE
from relay.store.keyring import write_whole

FILE_NAME = "failed-starts"
MANY = 3
_ASKED = "asked"
_MOST_BYTES = 4096
_HEALTHY_AFTER_S = 60.0


class StartsFailedError(RelayError):
    """Several starts in a row ended badly; why, only they knew."""

    code = "start.failed"
    fault = Fault.BOX


class SafeModeAskedError(RelayError):
    """Somebody asked for safe mode."""

    code = "start.safe_asked"
    fault = Fault.USER


def why_safe(folder: Path) -> RelayError | None:
    """Return why this start is in safe mode, None where it is a start like any other."""
    lines = noted(folder)
    if _ASKED in lines:
        return SafeModeAskedError("it was asked for")
    if len(lines) < MANY:
        return None
    return StartsFailedError(f"{len(lines)} starts in a row failed, the last one so: {lines[-1][:100]}")


def noted(folder: Path) -> list[str]:
    """Return what is noted of failed starts, oldest first."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "replace").splitlines()
    except OSError:
        return []


def ask_for_safe(folder: Path) -> None:
    """Have the next start be in safe mode."""
    with (folder / FILE_NAME).open("a", encoding="ascii") as file:
        file.write(f"{_ASKED}\n")
        file.flush()
        os.fsync(file.fileno())


def forget(folder: Path) -> None:
    """End the count; on flash that takes no writes it stays."""
    with suppress(OSError):
        (folder / FILE_NAME).unlink()


async def forget_when_healthy(folder: Path) -> None:
    """End the count after a minute of serving, and keep settings that are good for that where none were kept yet."""
    await trio.sleep(_HEALTHY_AFTER_S)
    await trio.to_thread.run_sync(_note_health, folder)


def _note_health(folder: Path) -> None:
    forget(folder)
    with suppress(OSError):
        if not (folder / BEFORE).exists():
            # For whoever says `rollback` when the settings cannot be read any more.
            write_whole(folder / BEFORE, (folder / SETTINGS).read_bytes())
