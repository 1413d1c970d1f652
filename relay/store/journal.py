"""The journal: sealed commits in order, each on flash before it counts.

Recovery rules: a frame counts when its tag fits; a commit counts when all its parts do; commit sequences have no gaps.
What fails at the very end was never acknowledged. What fails before a later valid commit is damage and is named, not
skipped. A sequence found twice (a commit whose first sync failed) counts once, the newer segment winning.
"""

from collections.abc import Iterator
from pathlib import Path

from relay.store.faults import JournalHoleError, StaleIndexError, Stretch
from relay.store.files import File, FileLayer
from relay.store.frame import frame_sizes, seal, sealed_bytes, split_payload
from relay.store.root_page import Root, SegmentUse
from relay.store.scan import Frame, Trace, scan
from relay.store.segments import Segments
from relay.store.tables import STATE_FORMAT


class Journal:
    """The one writer and reader of the segments.

    Attributes:
        sequence: the number of the last durable commit.
        written_bytes: sealed bytes since `mark` was last called.
        troubled: whether a sync failed since then: the segment behind it is needed and not trusted.
        loose_end: what the last replay found of one more commit behind the last that opens, empty where nothing is.
        tolerant: whether missing files and an old root page are worked around, to read what can be read.
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
        tolerant: bool = False,
    ) -> None:
        self._segments = Segments(
            files,
            folder,
            key,
            count=segments,
            segment_bytes=segment_bytes,
            newest_format=newest_format,
            tolerant=tolerant,
        )
        self.tolerant = tolerant
        self.segment_bytes = segment_bytes
        self._current: SegmentUse | None = None
        self._offset = 0
        self._last_sequence: dict[int, int] = {}
        self.sequence = 0
        self.written_bytes = 0
        self.troubled = False
        self.loose_end = ""
        self._lent_boot = 0

    @property
    def boot(self) -> int:
        """Return the number of this start."""
        return self._lent_boot or self._segments.root.boot

    @property
    def written_boot(self) -> int:
        """Return the number of the last start that was written down."""
        return self._segments.root.boot

    def lend_boot(self, boot: int) -> None:
        """Call this start `boot`: it is not written down."""
        self._lent_boot = boot

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
    def latest_uses(self) -> list[SegmentUse]:
        """Return what each segment was used for last, oldest first, also where the index durably holds all of it."""
        return self._segments.latest_uses

    @property
    def root(self) -> Root:
        """Return the root page."""
        return self._segments.root

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

    @property
    def lost_page(self) -> str:
        """Return the name of the root page that cannot be written, empty while both can."""
        return self._segments.lost_page

    def open(self, *, may_make: bool = True) -> bool:
        """Open the files, make them where there are none and none ever were; return whether they were made.

        Raises:
            DamagedError: the files are not all there, or do not fit together; see `relay.store.faults`.
        """
        return self._segments.open(may_make=may_make)

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

    def trust_again(self) -> None:
        """Write again to the segments that refused: they were full, not worn out, and nothing on them is needed."""
        self._segments.trust_again()
        self.troubled = False

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
            JournalHoleError: a commit that was once durable is not readable.
        """
        if after < self._segments.root.released:
            raise StaleIndexError(
                f"the index holds commit {after}, the journal begins after commit {self._segments.root.released}"
            )
        expected = after + 1
        parts: list[bytes] = []
        traces: list[Trace] = []
        before: Frame | None = None
        for frame in self._frames(traces):
            if up_to is not None and frame.sequence > up_to:
                break
            if frame.sequence < expected:
                before = frame
                continue
            if frame.sequence > expected:
                raise JournalHoleError(expected, frame.sequence - 1, self.between(before, frame))
            before = frame
            if frame.part == 0:
                parts = []
            if frame.part == len(parts):
                parts.append(frame.payload)
            if len(parts) == frame.parts:
                # What the card refuses to read before a commit that follows on held nothing that is needed.
                traces[:] = [trace for trace in traces if trace.sequence is not None]
                yield frame.sequence, b"".join(parts)
                expected, parts = expected + 1, []
        if up_to is None:
            self._judge_end(expected, traces)

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that opens, in order; of a commit that was written twice only the newer writing."""
        return self._frames([])

    def traces(self) -> list[Trace]:
        """Return what is left of frames that do not open, in every segment in use."""
        return [found for use in self.uses for found in self._scan(use) if isinstance(found, Trace)]

    def close(self) -> None:
        """Close the files."""
        self._segments.close()

    def _distrust_current(self) -> None:
        self.troubled = True
        if self._current is not None:
            self._segments.distrust(self._current)
            # Nothing of it may be needed: then the next release gives it back.
            self._last_sequence.setdefault(self._current.use, 0)
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

    def _frames(self, traces: list[Trace]) -> Iterator[Frame]:
        uses = self._segments.root.uses
        firsts = [next((found.order for found in self._scan(use) if isinstance(found, Frame)), None) for use in uses]
        for number, use in enumerate(uses):
            limit = min((first for first in firsts[number + 1 :] if first is not None), default=None)
            for found in self._scan(use):
                if not isinstance(found, Frame):
                    traces.append(found)
                    continue
                if limit is not None and found.order >= limit:
                    break
                self._last_sequence[use.use] = max(found.sequence, self._last_sequence.get(use.use, 0))
                yield found
        if uses and firsts[-1] is None:
            traces.append(Trace(uses[-1], 0, 0, 0, 0))

    def _scan(self, use: SegmentUse) -> Iterator[Frame | Trace]:
        return scan(self._segments.file_of(use), use, self.segment_bytes)

    def _judge_end(self, expected: int, traces: list[Trace]) -> None:
        """What fails behind the last commit was never acknowledged, if it is one commit; more than one is damage."""
        self.loose_end = ""
        torn = [trace for trace in traces if trace.sequence is not None and trace.sequence >= expected]
        unreadable = [trace for trace in traces if trace.sequence is None]
        last = max((trace.sequence or 0 for trace in torn), default=0)
        if len(torn) == 1 and last > max(torn[0].after, expected - 1) + torn[0].blocks + 1:
            # There was no room for so many commits before it: the number itself is garbled.
            last = expected
        if unreadable or last > expected:
            # A commit is begun only when the one before is on flash: all but the last one named were acknowledged.
            raise JournalHoleError(expected, max(expected, last - 1), _joined(unreadable + torn))
        empty = traces[-1:] if traces and traces[-1].sequence == 0 else []
        for trace in torn or empty:
            self.loose_end = f"commit {expected} in segment {trace.use.slot} at byte {trace.offset}"

    def between(self, before: Frame | None, after: Frame) -> tuple[Stretch, ...]:
        """Return where the bytes of the commits between two frames must have been."""
        uses = self._segments.root.uses
        first = 0 if before is None else uses.index(before.use)
        stretches: list[Stretch] = []
        for use in uses[first : uses.index(after.use) + 1]:
            start = before.offset + before.total_bytes if before is not None and use == before.use else 0
            end = after.offset if use == after.use else self.segment_bytes
            if start < end:
                stretches.append(Stretch(use.slot, start, end))
        return tuple(stretches)


def _joined(traces: list[Trace]) -> tuple[Stretch, ...]:
    """Return the places of `traces` as few stretches."""
    joined: list[Stretch] = []
    for trace in traces:
        stretch = trace.stretch
        if joined and (joined[-1].slot, joined[-1].end) == (stretch.slot, stretch.start):
            joined[-1] = Stretch(stretch.slot, joined[-1].start, stretch.end)
        else:
            joined.append(stretch)
    return tuple(joined)
