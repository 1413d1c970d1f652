"""What a house writes, seen from inside: bytes by kind of file, syncs, journal commits by what they are for."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from relay.store.files import OS_FILES, File, OsFiles
from relay.store.frame import frame_sizes
from relay.store.journal import Journal
from relay.store.packing import unpack_all

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FROM_ELSEWHERE = "messages from elsewhere"
_PEER_TRANSACTION = frozenset({530})
_ROOM_EVENTS = frozenset(range(100, 124)) | frozenset(range(126, 160)) - {128, 129, 130}
# The first kind that a commit holds an operation of gives it its name: numbers as in tests/flow/journal_format.json.
_KINDS: tuple[tuple[str, frozenset[int]], ...] = (
    ("messages", _ROOM_EVENTS),
    ("keys", frozenset((*range(330, 385), *range(405, 413), 503, 504)) - {376, 379, 383}),
    ("media", frozenset(range(620, 630))),
    ("settings", frozenset(range(385, 405)) - {387}),
    ("transactions of peers", _PEER_TRANSACTION),
    ("receipts", frozenset({124, 125, 387})),
    ("delivery notes", frozenset((376, 379, 383, *range(500, 530), 531, 601))),
    ("last seen", frozenset({322, 460})),
    ("pruning", frozenset((*range(160, 200), *range(640, 660)))),
)
OTHER = "other"
KINDS = ("messages", FROM_ELSEWHERE, *(name for name, _ in _KINDS[1:]), OTHER)


def kind_of(numbers: Iterable[int]) -> str:
    """Return what a commit with operations of these numbers was made for: the weightiest thing in it."""
    held = set(numbers)
    name = next((name for name, members in _KINDS if held & members), OTHER)
    return FROM_ELSEWHERE if name == "messages" and held & _PEER_TRANSACTION else name


class Meter:
    """Counts, and rings when something was written.

    Attributes:
        commits: journal commits by kind.
        commit_bytes: their sealed bytes by kind.
        file_bytes: bytes by kind of file: journal, roots, media, other; the index's are SQLite's own.
        syncs: how often a file or folder was synced.
        last_written: the file written last.
        written: set by each write.
    """

    def __init__(self) -> None:
        self.commits: Counter[str] = Counter()
        self.commit_bytes: Counter[str] = Counter()
        self.file_bytes: Counter[str] = Counter()
        self.syncs = 0
        self.last_written: Path | None = None
        self.written = trio.Event()

    def reset(self) -> None:
        """Count from nothing."""
        self.commits.clear()
        self.commit_bytes.clear()
        self.file_bytes.clear()
        self.syncs = 0

    def note_commit(self, payload: bytes) -> None:
        """Count one journal commit."""
        kind = kind_of(operation[0] for change in unpack_all(payload) for operation in change[1:])
        self.commits[kind] += 1
        self.commit_bytes[kind] += sum(frame_sizes(len(payload)))

    def note_write(self, path: Path, size_bytes: int) -> None:
        """Count one write to a file."""
        self.file_bytes[_place(path)] += size_bytes
        self.last_written = path
        self.written.set()


def _place(path: Path) -> str:
    if path.name.startswith("segment-"):
        return "journal"
    if path.name.startswith("root."):
        return "roots"
    return "media" if "media" in path.parts else "other"


class MeteredWorkers:
    """Runs blocking calls at once, as a clock that jumps would run ahead of threads, and looks at each commit."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what `function(*args)` returns."""
        if getattr(function, "__func__", None) is Journal.commit:
            self._meter.note_commit(next(arg for arg in args if isinstance(arg, bytes)))
        await trio.lowlevel.checkpoint()
        result = function(*args)
        # Others run between the end of the work and whoever waited for it, as with threads.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result


class MeteredFiles(OsFiles):
    """The operating system's files; with `lazy` syncs are left out, for filling a database that is synced once."""

    def __init__(self, meter: Meter, *, lazy: bool = False) -> None:
        self._meter = meter
        self._lazy = lazy

    def open(self, path: Path, *, create: bool = False) -> "MeteredFile":  # type: ignore[override]
        """Open for reading and writing."""
        return MeteredFile(OS_FILES.open(path, create=create), path, self._meter, lazy=self._lazy)

    def sync_folder(self, folder: Path) -> None:
        """Return when new, renamed and removed names of the folder are on flash."""
        self._meter.syncs += 1
        if not self._lazy:
            super().sync_folder(folder)


class MeteredFile:
    """One open file."""

    def __init__(self, file: File, path: Path, meter: Meter, *, lazy: bool) -> None:
        self._file = file
        self._path = path
        self._meter = meter
        self._lazy = lazy

    def read(self, size_bytes: int, offset: int) -> bytes:
        """Return `size_bytes` from `offset`, fewer at the end of the file."""
        return self._file.read(size_bytes, offset)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        self._meter.note_write(self._path, len(data))
        self._file.write(data, offset)

    def sync(self) -> None:
        """Return when everything written is on flash."""
        self._meter.syncs += 1
        if not self._lazy:
            self._file.sync()

    def size_bytes(self) -> int:
        """Return the file's length."""
        return self._file.size_bytes()

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()
