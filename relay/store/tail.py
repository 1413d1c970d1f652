"""The journal's tail: durable commits read from the segment files, for whoever keeps a copy of them elsewhere.

Nothing is kept for the reader, in memory or on flash: segments are given back as if nobody read. A reader that is too
slow finds its commits gone and has to begin anew from the index.
"""

import dataclasses

from relay.base.errors import DamagedError
from relay.store.frame import HEADER_BYTES, open_frame, read_header
from relay.store.journal import Journal
from relay.store.root_page import SegmentUse


class RecycledError(DamagedError):
    """The journal does not keep the commits asked for any more: their effect is in the index only."""

    code = "storage.recycled"


@dataclasses.dataclass(slots=True)
class _Place:
    """Where the next frame is looked for."""

    use: SegmentUse
    offset: int = 0


class Tail:
    """One reader. Blocking; runs beside the journal's one writer.

    Attributes:
        sequence: the last commit that was returned, or the one to begin after.
    """

    def __init__(self, journal: Journal, after: int) -> None:
        self._journal = journal
        self._uses: list[SegmentUse] = []
        self._place: _Place | None = None
        self.sequence = after

    def read(self, limit_bytes: int) -> list[tuple[int, bytes]]:
        """Return (sequence, payload) of the next durable commits, in order, none where there are none.

        At least one where there is one, and no more once `limit_bytes` of payload are reached.

        Raises:
            RecycledError: the next commit is not in the journal.
        """
        durable = self._journal.sequence
        found: list[tuple[int, bytes]] = []
        size_bytes = 0
        while self.sequence < durable and size_bytes < limit_bytes:
            payload = self._next(durable)
            found.append((self.sequence, payload))
            size_bytes += len(payload)
        return found

    def _next(self, durable: int) -> bytes:
        wanted = self.sequence + 1
        place = self._place or self._find(wanted)
        parts: list[bytes] = []
        while True:
            frame = self._frame(place, durable)
            if frame is None:
                place = self._after(place.use, wanted)
                continue
            sequence, part, count, payload = frame
            if sequence > wanted:
                raise _gone(wanted)
            if sequence == wanted:
                # A commit whose first sync failed stands twice: the second one counts.
                parts = [] if part == 0 else parts
                if part == len(parts):
                    parts.append(payload)
                if len(parts) == count:
                    self._place, self.sequence = place, wanted
                    return b"".join(parts)

    def _frame(self, place: _Place, durable: int) -> tuple[int, int, int, bytes] | None:
        """Return the frame at `place`, which moves behind it; None where there is none, or none that counts yet."""
        file = self._journal.file_of(place.use)
        head = file.read(HEADER_BYTES, place.offset)
        header = read_header(head)
        if header is None or header.use != place.use.use or header.sequence > durable:
            return None
        payload = open_frame(file.read(header.total_bytes, place.offset), place.use.key)
        if payload is None:
            return None
        place.offset += header.total_bytes
        return header.sequence, header.part, header.parts, payload

    def _find(self, wanted: int) -> _Place:
        """Return the last segment that begins at or before the commit: it is there, or nowhere."""
        self._learn()
        for use in reversed(self._uses):
            header = read_header(self._journal.file_of(use).read(HEADER_BYTES, 0))
            if header is not None and header.use == use.use and (header.sequence, header.part) <= (wanted, 0):
                return _Place(use)
        raise _gone(wanted)

    def _after(self, use: SegmentUse, wanted: int) -> _Place:
        self._learn()
        later = [known for known in self._uses if known.use > use.use]
        if not later:
            raise _gone(wanted)
        return _Place(later[0])

    def _learn(self) -> None:
        # Segments given back are still read until they are written again: a moment's delay costs no new beginning.
        self._uses = self._journal.latest_uses


def _gone(wanted: int) -> RecycledError:
    return RecycledError(f"commit {wanted} is not in the journal any more")
