"""Reading segments: every frame that opens, and every trace of one that does not."""

import dataclasses
from collections.abc import Iterator

from relay.store.faults import Stretch
from relay.store.files import File
from relay.store.frame import BLOCK_BYTES, HEADER_BYTES, claims, open_frame, read_header
from relay.store.root_page import SegmentUse


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A frame that opens.

    Attributes:
        part: of so many `parts` of the commit `sequence`.
    """

    use: SegmentUse
    offset: int
    total_bytes: int
    sequence: int
    part: int
    parts: int
    payload: bytes

    @property
    def order(self) -> tuple[int, int]:
        """Return what frames are in order of."""
        return self.sequence, self.part


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """What is left of a frame that does not open, or a block that the card refuses to read.

    Attributes:
        sequence: the commit it says it was of, None where it cannot be read at all.
        after: the last commit that opens before it in its segment, 0 where none does.
        blocks: how many blocks there are between that one and this.
    """

    use: SegmentUse
    offset: int
    sequence: int | None
    after: int
    blocks: int

    @property
    def stretch(self) -> Stretch:
        """Return where it is."""
        return Stretch(self.use.slot, self.offset, self.offset + BLOCK_BYTES)


def scan(file: File, use: SegmentUse, segment_bytes: int) -> Iterator[Frame | Trace]:
    """Yield what one segment holds of `use`, in the order of its bytes."""
    offset = end = after = 0
    while offset < segment_bytes:
        try:
            head = file.read(HEADER_BYTES, offset)
            header = read_header(head)
            whole = file.read(header.total_bytes, offset) if header is not None and header.use == use.use else b""
        except OSError:
            yield Trace(use, offset, None, after, (offset - end) // BLOCK_BYTES)
            offset += BLOCK_BYTES
            continue
        payload = open_frame(whole, use.key) if whole else None
        if header is not None and payload is not None:
            yield Frame(use, offset, header.total_bytes, header.sequence, header.part, header.parts, payload)
            after = header.sequence
            offset += header.total_bytes
            end = offset
            continue
        claimed = header.sequence if whole and header is not None else claims(head, use.use, after) if after else None
        if claimed is not None:
            yield Trace(use, offset, claimed, after, (offset - end) // BLOCK_BYTES)
        offset += BLOCK_BYTES
