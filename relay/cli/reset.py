"""Back to an empty folder: the holder stopped first, the key gone first, and finished after a power cut."""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relay.admin.client import NotRunningError, ask
from relay.base.config import FILE_NAME, StoreConfig, load
from relay.base.ending import ends_in_order
from relay.base.errors import ConfigError, StateLockedError
from relay.box.board import status_light
from relay.box.light import Shown
from relay.cli.files import write_whole
from relay.store.files import OS_FILES, FileLayer
from relay.store.keyring import BEFORE, forget
from relay.store.keyring import FILE_NAME as KEYRING

MARKER = "reset"
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
    with ends_in_order():
        try:
            threading.Event().wait(seconds)
        finally:
            give_back()


def finish(folder: Path) -> None:
    """Complete a reset that a power cut interrupted."""
    if (folder / MARKER).exists():
        with _held(folder):
            _empty(folder)


def _empty(folder: Path) -> None:
    empty(folder, own_key_file(folder))


def own_key_file(folder: Path) -> Path:
    """Return the key file of the box where it lies in its folder; one elsewhere opens nothing any more, and stays."""
    usual = folder / StoreConfig().key_file
    try:
        named = folder / load(folder).store.key_file
    except ConfigError:
        return usual
    return named if named.resolve().is_relative_to(folder.resolve()) else usual


def empty(folder: Path, key_file: Path, *, files: FileLayer = OS_FILES) -> None:
    """Empty a folder that is marked for it, which a power cut may interrupt anywhere."""
    # Without the keyring the rest is noise, whoever has its root key: what a TPM sealed and what makes fuses a key lie
    # in it, too. The settings name the key file, so they go after it.
    forget([folder / name for name in (KEYRING, BEFORE)], files=files)
    forget([key_file, folder / FILE_NAME], files=files)
    for name in files.names(folder):
        if name not in (MARKER, "lost+found"):
            _remove(folder / name, files)
    files.sync_folder(folder)
    files.remove(folder / MARKER)
    files.sync_folder(folder)


def _remove(path: Path, files: FileLayer) -> None:
    if files.vfs is None and path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    if names := files.names(path) if files.vfs is not None else []:
        for name in names:
            _remove(path / name, files)
        # A file system that knows no removing of folders.
        files.sync_folder(path)
    files.remove(path)


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
