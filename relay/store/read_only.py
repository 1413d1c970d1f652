"""A state folder that is only read: nothing done to it reaches the card, and SQLite may still change pages in memory.

For a box that starts beside damage, or on a file system that has gone read-only: the journal is replayed into the
index in memory, reads are served, and the evidence stays as it was found.
"""

import contextlib
import errno
import itertools
from pathlib import Path

import apsw

from relay.store.files import File, FileLayer

_numbers = itertools.count()


class ReadOnlyFiles:
    """Another file layer, of which nothing is changed. `close` gives the SQLite file system back."""

    def __init__(self, inner: FileLayer, *, hide: str = "") -> None:
        """`hide`: files whose names end so are taken for missing; nothing unless given."""
        self._inner = inner
        self._hide = hide
        self._vfs = _ReadingVfs(f"doorstep-read-{next(_numbers)}", self)

    @property
    def vfs(self) -> str | None:
        """Return the SQLite file system that reads through the other layer."""
        return self._vfs.name

    @property
    def shares_memory(self) -> bool:
        """Return False: one connection reads."""
        return False

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading; with `create` a missing file is an empty one."""
        if not self.exists(path):
            if create:
                return _NothingThere()
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return _Reader(self._inner.open_to_read(path))

    def open_to_read(self, path: Path) -> File:
        """Open for reading."""
        return self.open(path)

    def exists(self, path: Path) -> bool:
        """Return whether the file is there and not hidden."""
        hidden = bool(self._hide) and path.name.endswith(self._hide)
        return not hidden and self._inner.exists(path)

    def rename(self, old: Path, new: Path) -> None:
        """Refuse."""
        raise _refused()

    def remove(self, path: Path) -> None:
        """Refuse."""
        raise _refused()

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder."""
        return self._inner.names(folder)

    def make_folder(self, folder: Path) -> None:
        """Do nothing: what is missing stays missing."""

    def sync_folder(self, folder: Path) -> None:
        """Refuse."""
        raise _refused()

    def lock(self, folder: Path) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for one writer."""
        return self._inner.lock(folder)

    def close(self) -> None:
        """Give the SQLite file system back; every connection that used it is closed."""
        self._vfs.unregister()


class _Reader:
    def __init__(self, file: File) -> None:
        self._file = file

    def read(self, size_bytes: int, offset: int) -> bytes:
        return self._file.read(size_bytes, offset)

    def write(self, data: bytes, offset: int) -> None:
        raise _refused()

    def sync(self) -> None:
        raise _refused()

    def size_bytes(self) -> int:
        return self._file.size_bytes()

    def close(self) -> None:
        self._file.close()


class _NothingThere(_Reader):
    def __init__(self) -> None:
        pass

    def read(self, size_bytes: int, offset: int) -> bytes:
        return b""

    def size_bytes(self) -> int:
        return 0

    def close(self) -> None:
        pass


def _refused() -> OSError:
    return OSError(errno.EROFS, "the state folder is only read")


class _ReadingVfsFile:
    """What SQLite takes for a file it may write: it does not, as nothing is ever committed."""

    def __init__(self, file: File) -> None:
        self._file = file

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's names
        try:
            return self._file.read(amount, offset)
        except OSError as error:
            raise apsw.IOError(str(error)) from error

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        raise apsw.ReadOnlyError("the state folder is only read")

    def xTruncate(self, size: int) -> None:  # noqa: N802
        raise apsw.ReadOnlyError("the state folder is only read")

    def xSync(self, flags: int) -> None:  # noqa: N802
        pass

    def xFileSize(self) -> int:  # noqa: N802
        return self._file.size_bytes()

    def xLock(self, level: int) -> None:  # noqa: N802
        pass

    def xUnlock(self, level: int) -> None:  # noqa: N802
        pass

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return 512

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:  # noqa: N802
        self._file.close()


class _ReadingVfs(apsw.VFS):
    def __init__(self, name: str, files: ReadOnlyFiles) -> None:
        self._files = files
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _ReadingVfsFile:  # type: ignore[override]  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        return _ReadingVfsFile(self._files.open(Path(path), create=True))

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 - SQLite's signature
        raise apsw.ReadOnlyError("the state folder is only read")

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        return self._files.exists(Path(pathname))

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name
