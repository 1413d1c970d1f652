"""The journal: sealed commits in order, each on flash before it counts.

Recovery rules: a frame counts when its tag fits; a commit counts when all its parts do; commit sequences have no gaps.
What fails at the very end was never acknowledged. What fails before a later valid commit is damage and is named, not
skipped. A sequence found twice (a commit whose first sync failed) counts once, the newer segment winning.
"""

from collections.abc import Iterator
from pathlib import Path

from relay.base.errors import DamagedError
from relay.store.files import File, FileLayer
from relay.store.frame import (
    BLOCK_BYTES,
    HEADER_BYTES,
    Header,
    frame_sizes,
    open_frame,
    read_header,
    seal,
    sealed_bytes,
    split_payload,
)
from relay.store.root_page import SegmentUse
from relay.store.segments import Segments
from relay.store.tables import STATE_FORMAT


class StaleIndexError(DamagedError):
    """The index is older than the oldest commit the journal still keeps: it was replaced or restored from elsewhere."""

    code = "storage.index_stale"


class Journal:
    """The one writer and reader of the segments.

    Attributes:
        sequence: the number of the last durable commit.
        written_bytes: sealed bytes since `mark` was last called.
        troubled: whether a sync failed since then: the segment behind it is needed and not trusted.
    """

    def __init__(
        self,
        files: FileLayer,
        folder: Path,
        key: bytes,
        *,
        segments: int,
        segment_bytes: int,
        newest_format: int = STATE_FORMAT,
    ) -> None:
        self._segments = Segments(
            files, folder, key, count=segments, segment_bytes=segment_bytes, newest_format=newest_format
        )
        self.segment_bytes = segment_bytes
        self._current: SegmentUse | None = None
        self._offset = 0
        self._last_sequence: dict[int, int] = {}
        self.sequence = 0
        self.written_bytes = 0
        self.troubled = False

    @property
    def boot(self) -> int:
        """Return the number of this start."""
        return self._segments.root.boot

    @property
    def format(self) -> int:
        """Return the format of the state folder, as the root page says."""
        return self._segments.root.format

    @property
    def segments(self) -> tuple[int, int]:
        """Return how many segments are in use, and how many there are."""
        return self._segments.count - self._segments.free_count, self._segments.count

    @property
    def released(self) -> int:
        """Return the commit up to which the index was durable when segments were last given back."""
        return self._segments.root.released

    @property
    def uses(self) -> tuple[SegmentUse, ...]:
        """Return the uses of segments that hold what the index does not hold durably, oldest first."""
        return self._segments.root.uses

    def file_of(self, use: SegmentUse) -> File:
        """Return the file of one use, which may hold a later use's frames by now."""
        return self._segments.file_of(use)

    @property
    def segments_free(self) -> int:
        """Return how many segments can be taken."""
        return self._segments.free_count

    def open(self) -> bool:
        """Open the files, make them where there are none; return whether they were made."""
        return self._segments.open()

    def start(self, *, sequence: int, position: int, gap: int) -> int:
        """Begin a new start after `sequence` and `position`; return the position its changes are numbered from."""
        self.sequence = max(sequence, self.sequence)
        root = self._segments.root
        unused = frozenset(use.use for use in root.uses if self._last_sequence.get(use.use, 0) <= root.released)
        floor = max(position, root.floor) + gap
        self._segments.start(boot=root.boot + 1, floor=floor, unused=unused)
        return floor

    def has_room(self, payload_bytes: int) -> bool:
        """Return whether a commit of `payload_bytes` fits without giving segments back."""
        left = self.segment_bytes - self._offset if self._current is not None else 0
        free = self._segments.free_count
        for size in frame_sizes(payload_bytes):
            if size > left:
                free, left = free - 1, self.segment_bytes
            left -= size
        return free >= 0

    def commit(self, payload: bytes) -> None:
        """Return when `payload` is on flash as the next commit. After one failed sync it is written again elsewhere.

        Raises:
            OSError: that failed too; nothing was acknowledged, though the bytes may be on flash.
            NoFreeSegmentError: there is no segment to write to.
        """
        sequence = self.sequence + 1
        pieces = split_payload(payload)
        try:
            self._write(sequence, pieces)
        except OSError:
            # The kernel may call the lost page clean: nothing written to that file can be believed again.
            self._distrust_current()
            try:
                self._write(sequence, pieces)
            except OSError:
                self._distrust_current()
                raise
        self.sequence = sequence

    def set_format(self, number: int, sequence: int) -> None:
        """Empty the journal, and say its format is `number`; the index durably holds all commits, up to `sequence`."""
        self._segments.set_format(number, sequence)
        self._last_sequence.clear()

    def mark(self) -> None:
        """Count bytes from here: the index has committed everything so far."""
        self.written_bytes = 0
        self.troubled = False

    def release(self, sequence: int) -> None:
        """Give back every segment whose commits are all at or below `sequence`, which the index durably holds."""
        current = self._current.use if self._current is not None else None
        done = frozenset(
            use.use
            for use in self._segments.root.uses
            # A use without an entry was taken just now, its first frame is on the way.
            if use.use != current and self._last_sequence.get(use.use, sequence + 1) <= sequence
        )
        self._segments.release(done, sequence)
        for use in done:
            self._last_sequence.pop(use, None)

    def replay(self, after: int, up_to: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield (sequence, payload) of every commit after sequence `after`, in order, `up_to` included.

        Raises:
            StaleIndexError: the journal no longer keeps the commits right after `after`.
            DamagedError: a commit that was once durable is not readable.
        """
        if after < self._segments.root.released:
            raise StaleIndexError(f"the index holds commit {after}, the journal begins after a later one")
        expected = after + 1
        parts: list[bytes] = []
        for header, payload, place in self._frames():
            if header.sequence < expected or (up_to is not None and header.sequence > up_to):
                continue
            if header.sequence > expected:
                raise DamagedError(f"commit {expected} is not readable, {place} holds commit {header.sequence}")
            if header.part == 0:
                parts = []
            if header.part == len(parts):
                parts.append(payload)
            if len(parts) == header.parts:
                yield header.sequence, b"".join(parts)
                expected, parts = expected + 1, []

    def close(self) -> None:
        """Close the files."""
        self._segments.close()

    def _distrust_current(self) -> None:
        self.troubled = True
        if self._current is not None:
            self._segments.distrust(self._current)
        self._current = None

    def _write(self, sequence: int, pieces: list[bytes]) -> None:
        frames: list[bytes] = []
        for part, piece in enumerate(pieces):
            size = sealed_bytes(len(piece))
            if self._current is None or self._offset + sum(map(len, frames)) + size > self.segment_bytes:
                self._flush(frames, sequence)
                frames = []
                self._current, self._offset = self._segments.take(), 0
            use = self._current
            frames.append(seal(piece, use.key, use=use.use, sequence=sequence, part=part, parts=len(pieces)))
        self._flush(frames, sequence)

    def _flush(self, frames: list[bytes], sequence: int) -> None:
        if not frames or self._current is None:
            return
        data = b"".join(frames)
        file = self._segments.file_of(self._current)
        file.write(data, self._offset)
        file.sync()
        self._offset += len(data)
        self._last_sequence[self._current.use] = sequence
        self.written_bytes += len(data)

    def _frames(self) -> Iterator[tuple[Header, bytes, str]]:
        uses = self._segments.root.uses
        firsts = [next(((h.sequence, h.part) for h, _, _ in self._scan(use)), None) for use in uses]
        for number, use in enumerate(uses):
            limit = min((first for first in firsts[number + 1 :] if first is not None), default=None)
            for header, payload, offset in self._scan(use):
                if limit is not None and (header.sequence, header.part) >= limit:
                    break
                self._last_sequence[use.use] = max(header.sequence, self._last_sequence.get(use.use, 0))
                yield header, payload, f"segment {use.slot} at byte {offset}"

    def _scan(self, use: SegmentUse) -> Iterator[tuple[Header, bytes, int]]:
        file = self._segments.file_of(use)
        offset = 0
        while offset < self.segment_bytes:
            header = read_header(file.read(HEADER_BYTES, offset))
            payload = None
            if header is not None and header.use == use.use:
                payload = open_frame(file.read(header.total_bytes, offset), use.key)
            if header is None or payload is None:
                offset += BLOCK_BYTES
                continue
            yield header, payload, offset
            offset += header.total_bytes
