"""The journal's segment files and the root pages that say which of them are in use.

A fixed number of 4 MiB files, written once with zeros and then recycled: a commit changes neither a file's size nor its
extents, so it costs one flush. Every use of a segment has a fresh random key, known to the root before the first frame;
what an earlier use left behind cannot be read as new.
"""

import dataclasses
import errno
import secrets
import threading
from pathlib import Path

from relay.base.errors import NewerFormatError, StorageError
from relay.base.log import get_logger
from relay.store.faults import OldRootError, RootsLostError, SegmentLostError
from relay.store.files import File, FileLayer
from relay.store.frame import BLOCK_BYTES, HEADER_BYTES, KEY_BYTES, Header, read_header
from relay.store.root_page import PAGE_BYTES, Root, SegmentUse, open_root, page_format, seal_root
from relay.store.scan import Frame, scan
from relay.store.tables import STATE_FORMAT

SEGMENT_BYTES = 4 * 1024 * 1024
ROOT_NAMES = ("root.a", "root.b")
_FRESH_ROOT = "root.new"
_NONCE_BYTES = 24
_ZEROS = bytes(256 * 1024)

log = get_logger()


def read_pages(files: FileLayer, folder: Path) -> list[bytes]:
    """Return both root pages of the journal in `folder` as they are, empty where there is none to be read."""
    return [_read_page(files, folder / name) for name in ROOT_NAMES]


def _read_page(files: FileLayer, path: Path) -> bytes:
    if not files.exists(path):
        return b""
    file = files.open_to_read(path)
    try:
        return file.read(PAGE_BYTES, 0)
    except OSError:
        return b""
    finally:
        file.close()


class NoFreeSegmentError(StorageError):
    """Every segment holds changes that the index does not hold durably yet; a checkpoint gives some back."""

    code = "storage.journal_full"


class Segments:
    """The open journal files. Thread-safe: commits take segments while a checkpoint gives others back.

    Attributes:
        lost_page: the name of a root page that could not be written last time, empty while both hold the newest root.
    """

    def __init__(
        self,
        files: FileLayer,
        folder: Path,
        key: bytes,
        *,
        count: int,
        segment_bytes: int,
        newest_format: int = STATE_FORMAT,
        tolerant: bool = False,
    ) -> None:
        self._newest_format = newest_format
        self._tolerant = tolerant
        self._files = files
        self._folder = folder
        self._key = key
        self._count = count
        self.segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._slots: dict[int, File] = {}
        self._pages: list[File] = []
        self._root = Root(0, 0, 0, 0, 1, (), newest_format)
        self._next_page = 0
        self._distrusted: set[int] = set()
        self._latest: dict[int, SegmentUse] = {}
        self._names_unsynced = False
        self.lost_page = ""

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

    def open(self, *, may_make: bool = True) -> bool:
        """Open the files, make them where there are none and none ever were; return whether they were made.

        Raises:
            NewerFormatError: no root page opens, and one is of a format that this release does not know.
            RootsLostError: neither root page opens.
            OldRootError: the segments hold frames of uses that the newest root page does not know.
            SegmentLostError: a segment in use is missing or cut short.
        """
        roots = self._read_roots()
        made = not any(roots) and may_make and self._never_used()
        if made:
            self._make()
            roots = self._read_roots()
        newest = max((root for root in roots if root is not None), key=lambda root: root.sequence, default=None)
        if newest is None:
            self._refuse_newer()
            there = any(self._files.exists(self._folder / name) for name in ROOT_NAMES)
            raise RootsLostError(
                "neither root page of the journal opens"
                if there
                else "the root pages are gone, there is no journal without them"
            )
        self._root = newest
        self._latest = {use.slot: use for use in newest.uses}
        self._next_page = 1 - roots.index(newest)
        for slot in range(max([self._count, *(use.slot + 1 for use in newest.uses)])):
            self._open_slot(slot)
        self._names_unsynced = not all(self._files.exists(self._folder / name) for name in ROOT_NAMES)
        self._pages = [self._files.open(self._folder / name, create=True) for name in ROOT_NAMES]
        if not self._tolerant:
            self._refuse_old_root()
        return made

    def make(self, root: Root) -> None:
        """Make the files of a journal that begins with `root`, where there is none."""
        self._root = root
        self._make()

    @property
    def latest_uses(self) -> list[SegmentUse]:
        """Return what each segment was used for last, oldest first, also where it was given back since."""
        return sorted(self._latest.values(), key=lambda use: use.use)

    def begin(self, root: Root) -> None:
        """Write `root` into both pages and make what segments are missing: nothing of what there was is needed.

        Raises:
            OSError: flash refused; the pages may be the old ones or the new.
        """
        self._files.make_folder(self._folder)
        self._root = root
        for slot in range(self._count):
            self._open_slot(slot)
        self._names_unsynced = True
        self._pages = [self._files.open(self._folder / name, create=True) for name in ROOT_NAMES]
        with self._lock:
            self._write_root(root)
            if self.lost_page:
                raise OSError(errno.EIO, f"{self.lost_page} could not be written")

    def file_of(self, use: SegmentUse) -> File:
        """Return the file that holds `use`."""
        return self._slots[use.slot]

    def distrust(self, use: SegmentUse) -> None:
        """Never take this segment again while the process runs: a sync on it failed."""
        self._distrusted.add(use.slot)

    def trust_again(self) -> None:
        """Take segments that were distrusted: nothing on them is needed, and what failed was not the card."""
        self._distrusted.clear()

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
            free = self._slots.keys() - held
            if not free:
                raise NoFreeSegmentError("the journal is full")
            # The one used longest ago: whoever follows the journal has time to read the others.
            slot = min(free, key=lambda slot: (self._latest[slot].use if slot in self._latest else 0, slot))
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

        Raises:
            OSError: with one page an older release would take the other for the newest.
        """
        with self._lock:
            self._write_root(dataclasses.replace(self._root, format=number, uses=(), released=released))
            if self.lost_page:
                raise OSError(errno.EIO, f"{self.lost_page} could not be written")

    def close(self) -> None:
        """Close the files."""
        for file in (*self._slots.values(), *self._pages):
            file.close()

    def first_headers(self) -> dict[int, Header]:
        """Return what the first block of each segment says of itself, by slot: every use begins there."""
        found: dict[int, Header] = {}
        for slot in range(max(self._count, len(self._slots))):
            path = self._path(slot)
            if slot in self._slots or self._files.exists(path):
                file = self._slots.get(slot) or self._files.open(path)
                header = _first_header(file)
                if header is not None:
                    found[slot] = header
                if slot not in self._slots:
                    file.close()
        return found

    def _never_used(self) -> bool:
        # A cut while the journal was made leaves at most an empty page and zeros: root.a comes into being whole.
        return not self._files.exists(self._folder / ROOT_NAMES[0]) and not self.first_headers()

    def _refuse_old_root(self) -> None:
        known = {use.slot: use for use in self._root.uses}
        for slot, header in self.first_headers().items():
            if header.use < self._root.next_use or (slot in known and self._goes_on(known[slot], header.sequence)):
                continue
            raise OldRootError(
                f"the root pages of the journal are from earlier: segment {slot} holds commit {header.sequence}, "
                "which they do not know"
            )

    def _goes_on(self, use: SegmentUse, sequence: int) -> bool:
        # Then the first header is garbled: a later use would have begun with a later commit than this one's.
        found = scan(self._slots[use.slot], use, self.segment_bytes)
        return any(isinstance(frame, Frame) and frame.sequence >= sequence for frame in found)

    def _read_roots(self) -> list[Root | None]:
        return [open_root(page, self._key, self._newest_format) for page in read_pages(self._files, self._folder)]

    def _refuse_newer(self) -> None:
        # Only once no page opens: one whose format is garbled beside a good one is a torn page like any other.
        found = max(page_format(page) or 0 for page in read_pages(self._files, self._folder))
        if found > self._newest_format:
            raise NewerFormatError.of("the state folder", f"format {found}, this release knows {self._newest_format}")

    def _write_root(self, root: Root) -> None:
        # First the page that does not hold the newest root: a torn write leaves the other. Then that one too, so that
        # either page alone is enough before any frame relies on what they say.
        root = dataclasses.replace(root, sequence=root.sequence + 1)
        self._write_page(self._next_page, root)
        self._root = root
        self._latest |= {use.slot: use for use in root.uses}
        self._next_page = 1 - self._next_page
        try:
            self._write_page(self._next_page, root)
        except OSError as error:
            if not self.lost_page:
                log.warning("store.root_page_lost", where=ROOT_NAMES[self._next_page], error=type(error).__name__)
            self.lost_page = ROOT_NAMES[self._next_page]
        else:
            self.lost_page = ""

    def _write_page(self, number: int, root: Root) -> None:
        page = seal_root(root, self._key, secrets.token_bytes(_NONCE_BYTES))
        try:
            self._pages[number].write(page, 0)
            self._pages[number].sync()
        except OSError:
            # Its place on the card may be worn out: another file has another place.
            self._replace_page(number, page)
        if self._names_unsynced:
            self._files.sync_folder(self._folder)
            self._names_unsynced = False

    def _replace_page(self, number: int, page: bytes) -> None:
        fresh, path = self._folder / _FRESH_ROOT, self._folder / ROOT_NAMES[number]
        self._files.remove(fresh)
        file = self._files.open(fresh, create=True)
        try:
            file.write(page, 0)
            file.sync()
            self._files.rename(fresh, path)
        finally:
            file.close()
        self._names_unsynced = True
        self._pages[number].close()
        # Whatever comes now, nothing more is written to the file that has lost its name.
        self._pages[number] = _NoFile()
        self._pages[number] = self._files.open(path)

    def _make(self) -> None:
        self._files.make_folder(self._folder)
        for slot in range(self._count):
            self._open_slot(slot).close()
        self._slots.clear()
        page = self._files.open(self._folder / ROOT_NAMES[1], create=True)
        page.write(bytes(PAGE_BYTES), 0)
        page.sync()
        page.close()
        # The rename makes the journal exist: before it, a start begins again from nothing.
        fresh = self._folder / _FRESH_ROOT
        page = self._files.open(fresh, create=True)
        page.write(seal_root(self._root, self._key, secrets.token_bytes(_NONCE_BYTES)), 0)
        page.sync()
        page.close()
        self._files.sync_folder(self._folder)
        self._files.rename(fresh, self._folder / ROOT_NAMES[0])
        self._files.sync_folder(self._folder)

    def _open_slot(self, slot: int) -> File:
        path = self._path(slot)
        used = any(use.slot == slot for use in self._root.uses)
        missing = not self._files.exists(path)
        if missing and used:
            if not self._tolerant:
                raise SegmentLostError(f"segment {slot} of the journal is missing")
            file: File = _NoFile()
        else:
            file = self._files.open(path, create=True)
        size_bytes = file.size_bytes()
        if size_bytes < self.segment_bytes and used and not self._tolerant:
            file.close()
            raise SegmentLostError(f"segment {slot} of the journal ends at byte {size_bytes}")
        if size_bytes < self.segment_bytes and not used and not self._tolerant:
            try:
                self._fill(file, size_bytes // BLOCK_BYTES * BLOCK_BYTES)
            except OSError:
                # Zeros whose sync failed would be taken for written next time.
                file.close()
                self._files.remove(path)
                raise
        self._slots[slot] = file
        return file

    def _fill(self, file: File, start: int) -> None:
        for offset in range(start, self.segment_bytes, len(_ZEROS)):
            file.write(_ZEROS[: self.segment_bytes - offset], offset)
        file.sync()
        self._files.sync_folder(self._folder)

    def _path(self, slot: int) -> Path:
        return self._folder / f"segment-{slot:02d}"


class _NoFile:
    """Stands for a segment file that is gone."""

    def read(self, size_bytes: int, offset: int) -> bytes:
        return b""

    def write(self, data: bytes, offset: int) -> None:
        raise OSError(errno.ENOENT, "the segment file is gone")

    def sync(self) -> None:
        raise OSError(errno.ENOENT, "the segment file is gone")

    def size_bytes(self) -> int:
        return 0

    def close(self) -> None:
        pass


def _first_header(file: File) -> Header | None:
    try:
        return read_header(file.read(HEADER_BYTES, 0))
    except OSError:
        return None
