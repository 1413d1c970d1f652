"""Back to an empty folder: the holder stopped first, the key gone first, and finished after a power cut."""

import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relay.admin.client import NotRunningError, ask
from relay.base.errors import StateLockedError
from relay.box.board import status_light
from relay.box.light import Shown
from relay.cli.files import sync_folder, write_whole

MARKER = "reset"
_FIRST = ("keyring", "root.key", "relay.toml")
_STOP_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.05


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the state folder.

    The kernel's table is read instead of trying the lock: a box that starts at this moment must find it free.
    """
    inode = f":{folder.stat().st_ino}"
    locks = Path("/proc/locks").read_text("ascii").splitlines()
    return any(line.split()[1] == "FLOCK" and line.split()[5].endswith(inode) for line in locks if "->" not in line)


def wipe(folder: Path) -> None:
    """Stop the box and empty its folder.

    Raises:
        StateLockedError: whoever holds the folder does not let go.
    """
    with suppress(NotRunningError):
        ask(folder, {"verb": "stop"})
    with _held(folder):
        status_light(folder).show(Shown.RESETTING)
        write_whole(folder / MARKER, b"")
        _empty(folder)
        status_light(folder).show(Shown.WAITING)


def wait_in_sight(folder: Path, seconds: float) -> None:
    """Wait, with the light warning everybody in the room; ended by SIGTERM it leaves the light as it was."""
    give_back = status_light(folder).borrow(Shown.RESETTING)
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        threading.Event().wait(seconds)
    finally:
        signal.signal(signal.SIGTERM, before)
        give_back()


def finish(folder: Path) -> None:
    """Complete a reset that a power cut interrupted."""
    if (folder / MARKER).exists():
        with _held(folder):
            _empty(folder)


def _empty(folder: Path) -> None:
    # Without the key the rest is noise: it goes first, and is overwritten for what that is worth on flash.
    for name in _FIRST:
        _shred(folder / name)
    sync_folder(folder)
    for path in sorted(folder.iterdir()):
        if path.name in (MARKER, "lost+found"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    sync_folder(folder)
    (folder / MARKER).unlink()
    sync_folder(folder)


def _shred(path: Path) -> None:
    if not path.is_file() or path.is_symlink():
        return
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + _STOP_WITHIN_S
    try:
        while not _take(descriptor):
            if time.monotonic() > deadline:
                raise StateLockedError(f"{folder} is held by a process that does not stop; end it and try again")
            # flock has no deadline of its own.
            threading.Event().wait(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
