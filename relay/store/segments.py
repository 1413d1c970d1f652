"""The journal's segment files and the root pages that say which of them are in use.

A fixed number of 4 MiB files, written once with zeros and then recycled: a commit changes neither a file's size nor its
extents, so it costs one flush. Every use of a segment has a fresh random key, known to the root before the first frame;
what an earlier use left behind cannot be read as new.
"""

import dataclasses
import secrets
import threading
from pathlib import Path

from relay.base.errors import DamagedError, NewerFormatError, StorageError
from relay.store.files import File, FileLayer
from relay.store.frame import BLOCK_BYTES, KEY_BYTES
from relay.store.root_page import PAGE_BYTES, Root, SegmentUse, open_root, page_format, seal_root
from relay.store.tables import STATE_FORMAT

SEGMENT_BYTES = 4 * 1024 * 1024
_ROOT_NAMES = ("root.a", "root.b")
_NONCE_BYTES = 24
_ZEROS = bytes(256 * 1024)


def read_pages(files: FileLayer, folder: Path) -> list[bytes]:
    """Return both root pages of the journal in `folder` as they are, empty where there is none."""
    pages = []
    for path in (folder / name for name in _ROOT_NAMES):
        page = b""
        if files.exists(path):
            file = files.open(path)
            page = file.read(PAGE_BYTES, 0)
            file.close()
        pages.append(page)
    return pages


class NoFreeSegmentError(StorageError):
    """Every segment holds changes that the index does not hold durably yet; a checkpoint gives some back."""

    code = "storage.journal_full"


class Segments:
    """The open journal files. Thread-safe: commits take segments while a checkpoint gives others back."""

    def __init__(
        self,
        files: FileLayer,
        folder: Path,
        key: bytes,
        *,
        count: int,
        segment_bytes: int,
        newest_format: int = STATE_FORMAT,
    ) -> None:
        self._files = files
        self._folder = folder
        self._key = key
        self._count = count
        self.segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._slots: dict[int, File] = {}
        self._pages: list[File] = []
        self._newest_format = newest_format
        self._root = Root(0, 0, 0, 0, 1, (), newest_format)
        self._next_page = 0
        self._distrusted: set[int] = set()

    @property
    def root(self) -> Root:
        """Return the root as it is on flash."""
        return self._root

    @property
    def free_count(self) -> int:
        """Return how many segments no use holds."""
        return len(self._slots.keys() - self._distrusted - {use.slot for use in self._root.uses})

    @property
    def count(self) -> int:
        """Return how many segments there are."""
        return len(self._slots)

    def open(self) -> bool:
        """Open the files, make them where there are none; return whether they were made.

        Raises:
            NewerFormatError: no root page opens, and one is of a format that this release does not know.
            DamagedError: neither root page opens, or a segment in use is missing.
        """
        made = not self._files.exists(self._folder / _ROOT_NAMES[0]) and not any(self._read_roots())
        if made:
            self._make()
        roots = self._read_roots()
        self._pages = [self._files.open(self._folder / name, create=True) for name in _ROOT_NAMES]
        newest = max((root for root in roots if root is not None), key=lambda root: root.sequence, default=None)
        if newest is None:
            self._refuse_newer()
            raise DamagedError("neither root page of the journal opens")
        self._root = newest
        self._next_page = 1 - roots.index(newest)
        for slot in range(max([self._count, *(use.slot + 1 for use in newest.uses)])):
            self._open_slot(slot)
        return made

    def make(self, root: Root) -> None:
        """Make the files of a journal that begins with `root`, where there is none."""
        self._root = root
        self._make()

    def file_of(self, use: SegmentUse) -> File:
        """Return the file that holds `use`."""
        return self._slots[use.slot]

    def distrust(self, use: SegmentUse) -> None:
        """Never take this segment again while the process runs: a sync on it failed."""
        self._distrusted.add(use.slot)

    def start(self, *, boot: int, floor: int, unused: frozenset[int]) -> None:
        """Write the root of a new start and give back the uses that hold nothing needed."""
        with self._lock:
            uses = tuple(use for use in self._root.uses if use.use not in unused)
            self._write_root(dataclasses.replace(self._root, boot=boot, floor=floor, uses=uses))

    def take(self) -> SegmentUse:
        """Return a new use of a free segment; its key is on flash.

        Raises:
            NoFreeSegmentError: there is none.
            OSError: the root could not be written.
        """
        with self._lock:
            held = {use.slot for use in self._root.uses} | self._distrusted
            slot = next((slot for slot in self._slots if slot not in held), None)
            if slot is None:
                raise NoFreeSegmentError("the journal is full")
            use = SegmentUse(self._root.next_use, slot, secrets.token_bytes(KEY_BYTES))
            self._write_root(dataclasses.replace(self._root, next_use=use.use + 1, uses=(*self._root.uses, use)))
            return use

    def release(self, uses: frozenset[int], released: int) -> None:
        """Give `uses` back: the index durably holds every commit up to sequence `released`."""
        with self._lock:
            kept = tuple(use for use in self._root.uses if use.use not in uses)
            if len(kept) != len(self._root.uses) or released != self._root.released:
                self._write_root(dataclasses.replace(self._root, uses=kept, released=released))

    def set_format(self, number: int, released: int) -> None:
        """Say in both pages that the folder is of format `number`; nothing but the index holds anything.

        With one page an older release would take the other for the newest.
        """
        with self._lock:
            for _ in _ROOT_NAMES:
                self._write_root(dataclasses.replace(self._root, format=number, uses=(), released=released))

    def close(self) -> None:
        """Close the files."""
        for file in (*self._slots.values(), *self._pages):
            file.close()

    def _read_roots(self) -> list[Root | None]:
        return [open_root(page, self._key, self._newest_format) for page in read_pages(self._files, self._folder)]

    def _refuse_newer(self) -> None:
        # Only once no page opens: one whose format is garbled beside a good one is a torn page like any other.
        found = max(page_format(page) or 0 for page in read_pages(self._files, self._folder))
        if found > self._newest_format:
            raise NewerFormatError.of("the state folder", f"format {found}, this release knows {self._newest_format}")

    def _write_root(self, root: Root) -> None:
        # The page that is not the newest valid one: a torn write leaves the other.
        root = dataclasses.replace(root, sequence=root.sequence + 1)
        page = self._pages[self._next_page]
        page.write(seal_root(root, self._key, secrets.token_bytes(_NONCE_BYTES)), 0)
        page.sync()
        self._root = root
        self._next_page = 1 - self._next_page

    def _make(self) -> None:
        self._files.make_folder(self._folder)
        for slot in range(self._count):
            self._open_slot(slot).close()
        self._slots.clear()
        page = self._files.open(self._folder / _ROOT_NAMES[1], create=True)
        page.write(bytes(PAGE_BYTES), 0)
        page.sync()
        page.close()
        # The rename makes the journal exist: before it, a start begins again from nothing.
        fresh = self._folder / "root.new"
        page = self._files.open(fresh, create=True)
        page.write(seal_root(self._root, self._key, secrets.token_bytes(_NONCE_BYTES)), 0)
        page.sync()
        page.close()
        self._files.sync_folder(self._folder)
        self._files.rename(fresh, self._folder / _ROOT_NAMES[0])
        self._files.sync_folder(self._folder)

    def _open_slot(self, slot: int) -> File:
        path = self._folder / f"segment-{slot:02d}"
        fresh = not self._files.exists(path)
        if fresh and any(use.slot == slot for use in self._root.uses):
            raise DamagedError(f"segment {slot} of the journal is missing")
        file = self._files.open(path, create=True)
        if file.size_bytes() < self.segment_bytes:
            for offset in range(file.size_bytes() // BLOCK_BYTES * BLOCK_BYTES, self.segment_bytes, len(_ZEROS)):
                file.write(_ZEROS[: self.segment_bytes - offset], offset)
            file.sync()
            self._files.sync_folder(self._folder)
        self._slots[slot] = file
        return file
