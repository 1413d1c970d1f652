"""The few file operations that safety rests on, behind a Protocol so that tests can cut the power between any two."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from relay.base.errors import StateLockedError


class File(Protocol):
    """One open file. Writes reach flash only with `sync`."""

    def read(self, size_bytes: int, offset: int) -> bytes:
        """Return `size_bytes` from `offset`, fewer at the end of the file."""
        ...

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`.

        Raises:
            OSError: the file system refused.
        """
        ...

    def sync(self) -> None:
        """Return when everything written is on flash.

        Raises:
            OSError: some of it may not be, now or ever: the file is not to be trusted again.
        """
        ...

    def size_bytes(self) -> int:
        """Return the file's length."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class FileLayer(Protocol):
    """A file system. `vfs` names the SQLite file system that goes with it, None for the system's own."""

    @property
    def vfs(self) -> str | None:
        """Return the SQLite VFS to open the index with."""
        ...

    @property
    def shares_memory(self) -> bool:
        """Return whether several connections may hold the index: without shared memory it is one alone."""
        ...

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing.

        Raises:
            FileNotFoundError: the file is missing and `create` is false.
            OSError: the file system takes no writes.
        """
        ...

    def open_to_read(self, path: Path) -> File:
        """Open for reading alone, which a file system that takes no writes allows.

        Raises:
            FileNotFoundError: the file is missing.
        """
        ...

    def exists(self, path: Path) -> bool:
        """Return whether the file is there."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, replacing what had it."""
        ...

    def remove(self, path: Path) -> None:
        """Delete a file; a missing one is no error."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, none where it is missing."""
        ...

    def make_folder(self, folder: Path) -> None:
        """Create a folder readable by its owner only, its name on flash; an existing one is no error."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return when new, renamed and removed names of the folder are on flash."""
        ...

    def lock(self, folder: Path) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for one writer.

        Raises:
            StateLockedError: another process holds it.
        """
        ...


class OsFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size_bytes: int, offset: int) -> bytes:
        """Return `size_bytes` from `offset`, fewer at the end of the file."""
        parts: list[bytes] = []
        while size_bytes > 0:
            part = os.pread(self._descriptor, size_bytes, offset)
            if not part:
                break
            parts.append(part)
            size_bytes -= len(part)
            offset += len(part)
        return b"".join(parts)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view = view[written:]
            offset += written

    def sync(self) -> None:
        """Return when everything written is on flash."""
        os.fdatasync(self._descriptor)

    def size_bytes(self) -> int:
        """Return the file's length."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class OsFiles:
    """The operating system's file system."""

    @property
    def vfs(self) -> str | None:
        """Return None: SQLite's own."""
        return None

    @property
    def shares_memory(self) -> bool:
        """Return True."""
        return True

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        """Open for reading and writing."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return OsFile(os.open(path, flags, 0o600))

    def open_to_read(self, path: Path) -> OsFile:
        """Open for reading alone."""
        return OsFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def exists(self, path: Path) -> bool:
        """Return whether the file is there."""
        return path.exists()

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, replacing what had it."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """Delete a file; a missing one is no error."""
        path.unlink(missing_ok=True)

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, none where it is missing."""
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def make_folder(self, folder: Path) -> None:
        """Create a folder readable by its owner only, its name on flash; an existing one is no error."""
        missing = [folder, *(parent for parent in folder.parents if not parent.is_dir())]
        if folder.is_dir():
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for made in reversed(missing):
            self.sync_folder(made.parent)

    def sync_folder(self, folder: Path) -> None:
        """Return when new, renamed and removed names of the folder are on flash."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def lock(self, folder: Path) -> Iterator[None]:
        """Hold the folder for one writer: the kernel lets go when the process ends, however it ends."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateLockedError(f"{folder} is held by another process") from None
            yield
        finally:
            os.close(descriptor)


OS_FILES = OsFiles()
