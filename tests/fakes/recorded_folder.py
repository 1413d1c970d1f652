"""A real folder whose writes and syncs are recorded, SQLite's included, with threads and two connections as in the box.

SQLite's own unix layer does the work underneath, shared memory and locks and all; only what it writes passes by here.
"""

import shutil
import threading
from pathlib import Path

import apsw

from relay.store.files import OsFile, OsFiles
from tests.fakes.files import Event, Kind
from tests.fakes.sync_sites import calling_site

_KEPT_ELSEWHERE = ("-shm",)
"""What SQLite makes anew after every cut."""


class RecordedFolder(OsFiles):
    """The files under `root`; in events its path is `shown`.

    Attributes:
        events: what was done, in the order it was finished.
    """

    def __init__(self, root: Path, shown: Path) -> None:
        self.root = root
        self._shown = shown
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._number = next(_numbers)
        self._vfs = _RecordingVfs(f"doorstep-recorded-{self._number}", self)

    @property
    def vfs(self) -> str | None:
        return f"doorstep-recorded-{self._number}"

    def unregister(self) -> None:
        self._vfs.unregister()

    def record(self, kind: Kind, path: Path, offset: int = 0, data: bytes = b"", target: Path | None = None) -> None:
        if path.name.endswith(_KEPT_ELSEWHERE):
            return
        shown = self._show(path)
        site = calling_site(shown) if kind in ("sync", "sync_folder") else ""
        event = Event(kind, shown, offset, data, "" if target is None else self._show(target), site)
        with self._lock:
            self.events.append(event)

    def _show(self, path: Path) -> str:
        return str(self._shown / path.relative_to(self.root))

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        fresh = create and not path.exists()
        file = super().open(path, create=create)
        if fresh:
            self.record("create", path)
        return _RecordedFile(file, path, self)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self.record("rename", old, target=new)

    def remove(self, path: Path) -> None:
        if path.exists():
            super().remove(path)
            self.record("remove", path)

    def make_folder(self, folder: Path) -> None:
        if folder == self.root:
            folder.mkdir(exist_ok=True)
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        folder.mkdir()
        self.record("make_folder", folder)
        self.sync_folder(folder.parent)

    def sync_folder(self, folder: Path) -> None:
        self.record("sync_folder", folder)


class _RecordedFile(OsFile):
    def __init__(self, file: OsFile, path: Path, folder: RecordedFolder) -> None:
        super().__init__(file._descriptor)
        self._path = path
        self._folder = folder

    def write(self, data: bytes, offset: int) -> None:
        super().write(data, offset)
        self._folder.record("write", self._path, offset, bytes(data))

    def sync(self) -> None:
        # Nothing here survives a real power cut: the record alone says what would.
        self._folder.record("sync", self._path)


class _SqliteFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], folder: RecordedFolder) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = Path(path) if path else None
        fresh = self._path is not None and not self._path.exists()
        super().__init__("unix", name, flags)
        self._folder = folder
        self._fresh_log = fresh and str(path).endswith(("-wal", "-journal"))
        if self._path is not None and fresh:
            folder.record("create", self._path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's names
        super().xWrite(data, offset)
        if self._path is not None:
            self._folder.record("write", self._path, offset, bytes(data))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        if self._path is not None:
            self._folder.record("truncate", self._path, size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._path is None:
            return
        self._folder.record("sync", self._path)
        if self._fresh_log:
            # SQLite's unix layer: the first sync of a new log makes its name durable too.
            self._folder.record("sync_folder", self._path.parent)
            self._fresh_log = False


class _RecordingVfs(apsw.VFS):
    def __init__(self, name: str, folder: RecordedFolder) -> None:
        self._folder = folder
        super().__init__(name, "unix")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _SqliteFile(name, flags, self._folder)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._folder.record("remove", Path(filename))
        if syncdir:
            self._folder.record("sync_folder", Path(filename).parent)


def write_out(contents: dict[str, bytes], shown: Path, root: Path) -> None:
    """Make `root` hold these files and no others."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, content in contents.items():
        path = root / Path(name).relative_to(shown)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


_numbers = iter(range(1, 1 << 62))
