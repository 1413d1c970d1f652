"""A file system in memory that records every write and sync; it also serves SQLite, so the index can live in it."""

import contextlib
import dataclasses
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import apsw

from relay.base.errors import StateLockedError
from tests.fakes.sync_sites import calling_site

Kind = Literal[
    "make_folder",
    "create",
    "write",
    "sync",
    "failed_sync",
    "truncate",
    "rename",
    "remove",
    "sync_folder",
    "open",
    "read",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing done to the file system; the recorder keeps them in order. `site` says where a sync was asked for."""

    kind: Kind
    path: str
    offset: int = 0
    data: bytes = b""
    target: str = ""
    site: str = ""


class MemoryFile:
    def __init__(self, files: "MemoryFiles", path: str) -> None:
        self._files = files
        self._path = path
        if path not in files.contents:
            files.contents[path] = bytearray()
            files.record(Event("create", path))
        self._content = files.contents[path]

    def read(self, size_bytes: int, offset: int) -> bytes:
        self._files.before("read", self._path)
        return bytes(self._content[offset : offset + size_bytes])

    def write(self, data: bytes, offset: int) -> None:
        self._files.before("write", self._path)
        if offset + len(data) > len(self._content):
            self._files.before_growth(self._path)
        if len(self._content) < offset:
            self._content.extend(bytes(offset - len(self._content)))
        self._content[offset : offset + len(data)] = data
        self._files.record(Event("write", self._path, offset, bytes(data)))

    def truncate(self, size_bytes: int) -> None:
        self._files.before("truncate", self._path)
        del self._content[size_bytes:]
        self._files.record(Event("truncate", self._path, size_bytes))

    def sync(self) -> None:
        try:
            self._files.before("sync", self._path)
        except OSError:
            self._files.record(Event("failed_sync", self._path))
            raise
        self._files.record(Event("sync", self._path, site=self._files.site(self._path)))

    def size_bytes(self) -> int:
        return len(self._content)

    def close(self) -> None:
        pass


class MemoryFiles:
    """The whole file system.

    Attributes:
        contents: what a reader sees now, by path.
        events: what was done, where `recording`.
    """

    def __init__(self, *, recording: bool = False) -> None:
        self.contents: dict[str, bytearray] = {}
        self.events: list[Event] = []
        self.recording = recording
        self.folders: set[str] = set()
        self._locked: set[Path] = set()
        self._number = next(_numbers)
        self._vfs = _MemoryVfs(f"doorstep-memory-{self._number}", self)

    @property
    def vfs(self) -> str | None:
        return f"doorstep-memory-{self._number}"

    @property
    def shares_memory(self) -> bool:
        return False

    def before(self, kind: Kind, path: str) -> None:
        """Called before each thing done: a subclass raises OSError here to play a failing card."""

    def before_growth(self, path: str) -> None:
        """Called before a write that makes a file longer."""

    def record(self, event: Event) -> None:
        if self.recording:
            self.events.append(event)

    def site(self, path: str) -> str:
        return calling_site(path) if self.recording else ""

    def open(self, path: Path, *, create: bool = False) -> MemoryFile:
        if not create and str(path) not in self.contents:
            raise FileNotFoundError(path)
        self.before("open", str(path))
        return MemoryFile(self, str(path))

    def open_to_read(self, path: Path) -> MemoryFile:
        if str(path) not in self.contents:
            raise FileNotFoundError(path)
        return MemoryFile(self, str(path))

    def exists(self, path: Path) -> bool:
        return str(path) in self.contents or self._is_folder(path)

    def _is_folder(self, path: Path) -> bool:
        inside = f"{path}/"
        return str(path) in self.folders or any(name.startswith(inside) for name in self.contents)

    def rename(self, old: Path, new: Path) -> None:
        self.before("rename", str(old))
        if str(old) in self.contents:
            self.contents[str(new)] = self.contents.pop(str(old))
        else:
            self.contents = {renamed(name, str(old), str(new)): content for name, content in self.contents.items()}
            self.folders = {renamed(name, str(old), str(new)) for name in self.folders}
        self.record(Event("rename", str(old), target=str(new)))

    def remove(self, path: Path) -> None:
        if str(path) in self.contents:
            self.before("remove", str(path))
        if self.contents.pop(str(path), None) is not None:
            self.record(Event("remove", str(path)))

    def names(self, folder: Path) -> list[str]:
        inside = f"{folder}/"
        return sorted({name.removeprefix(inside).split("/")[0] for name in self.contents if name.startswith(inside)})

    def make_folder(self, folder: Path) -> None:
        if folder == folder.parent or self._is_folder(folder):
            return
        self.make_folder(folder.parent)
        self.folders.add(str(folder))
        self.record(Event("make_folder", str(folder)))
        self.sync_folder(folder.parent)

    def sync_folder(self, folder: Path) -> None:
        self.before("sync_folder", str(folder))
        self.record(Event("sync_folder", str(folder), site=self.site(str(folder))))

    @contextlib.contextmanager
    def lock(self, folder: Path) -> Iterator[None]:
        if folder in self._locked:
            raise StateLockedError(f"{folder} is held by another process")
        self._locked.add(folder)
        try:
            yield
        finally:
            self._locked.discard(folder)

    def copy(self) -> "MemoryFiles":
        """Return the same files as another file system: what a restart after a clean cut would find."""
        other = MemoryFiles()
        other.contents = {path: bytearray(content) for path, content in self.contents.items()}
        other.folders = set(self.folders)
        return other

    def unregister(self) -> None:
        self._vfs.unregister()


def renamed(name: str, old: str, new: str) -> str:
    """Return what a path is called once the folder `old` is called `new`."""
    return new + name.removeprefix(old) if name == old or name.startswith(f"{old}/") else name


@contextlib.contextmanager
def _as_sqlite_says() -> Iterator[None]:
    """What the kernel refuses, as SQLite's unix layer names it."""
    try:
        yield
    except OSError as error:
        kind = {errno.ENOSPC: apsw.FullError, errno.EROFS: apsw.ReadOnlyError}.get(error.errno or 0, apsw.IOError)
        raise kind(str(error)) from error


class _VfsFile:
    def __init__(self, files: MemoryFiles, path: Path) -> None:
        self._fresh_log = path.name.endswith(("-wal", "-journal")) and not files.exists(path)
        self._files = files
        self._folder = path.parent
        self._file = files.open(path, create=True)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's names
        with _as_sqlite_says():
            return self._file.read(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        with _as_sqlite_says():
            self._file.write(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        with _as_sqlite_says():
            self._file.truncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        with _as_sqlite_says():
            self._file.sync()
            if self._fresh_log:
                # SQLite's unix layer: the first sync of a new log makes its name durable too.
                self._files.sync_folder(self._folder)
                self._fresh_log = False

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
        # What SQLite assumes of unix: a write does not garble bytes beside it.
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:  # noqa: N802
        self._file.close()


class _MemoryVfs(apsw.VFS):
    def __init__(self, name: str, files: MemoryFiles) -> None:
        self._files = files
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _VfsFile:  # type: ignore[override]  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        try:
            return _VfsFile(self._files, Path(path))
        except OSError as error:
            raise apsw.CantOpenError(str(error)) from error

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        with _as_sqlite_says():
            self._files.remove(Path(filename))
            if syncdir:
                self._files.sync_folder(Path(filename).parent)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        return pathname in self._files.contents

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name


_numbers = iter(range(1, 1 << 62))
