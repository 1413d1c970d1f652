"""HTTP/2 frames counted before anything parses them: cheap frames are how a peer makes us work for nothing.

Covers rapid reset (CVE-2023-44487), CONTINUATION floods, and floods of ping, settings, priority, empty data and tiny
window updates (CVE-2019-9512 to 9518). The frame layout is RFC 9113, section 4.1.
"""

from relay.base.limits import (
    H2_CONTROL_FRAMES_BURST,
    H2_CONTROL_FRAMES_PER_S,
    H2_RESETS_BURST,
    H2_RESETS_PER_S,
    MAX_H2_FRAME_BYTES,
    MAX_HEADER_BYTES,
)
from relay.transport.wire.events import WireError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_HEAD_BYTES = 9
_DATA, _HEADERS, _RST_STREAM, _PUSH_PROMISE, _GOAWAY, _CONTINUATION = 0x0, 0x1, 0x3, 0x5, 0x7, 0x9
_END_STREAM = 0x1
_END_HEADERS = 0x4
# Data frames below this are counted: padding and one-byte pieces cost us a frame each. Others pay for themselves.
_SMALL_BYTES = 64


class Allowance:
    """So many at once, and so many a second on top."""

    __slots__ = ("_burst", "_left", "_per_s", "_since_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst, self._per_s, self._left, self._since_s = burst, per_s, burst, 0.0

    def take(self, now_s: float) -> bool:
        """Spend one; return False if none is left."""
        self._left = min(self._burst, self._left + (now_s - self._since_s) * self._per_s)
        self._since_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give(self, count: float) -> None:
        """Put some back, never above the burst."""
        self._left = min(self._burst, self._left + count)


class FrameGauge:
    """Walks over frames by their heads only; raises before h2 would buffer or answer too much.

    GOAWAY frames are taken out: h2 closes its machine at one, though streams begun may still finish (RFC 9113, 6.8).

    Args:
        server: whether the peer is the client, and so begins with the preface.
    """

    def __init__(self, *, server: bool) -> None:
        self._skip = len(PREFACE) if server else 0
        self._head = b""
        self._goaway: bytearray | None = None
        self._block_bytes = 0
        self._in_block = False
        self._in_data = False
        self.last_stream: int | None = None
        """The highest stream the peer will answer, once it said GOAWAY."""
        self.resets = Allowance(H2_RESETS_BURST, H2_RESETS_PER_S)
        self.control = Allowance(H2_CONTROL_FRAMES_BURST, H2_CONTROL_FRAMES_PER_S)

    @property
    def inside(self) -> bool:
        """Whether a frame other than data, or a block of headers, has begun and not ended."""
        return (self._skip > 0 and not self._in_data) or bool(self._head) or self._in_block

    def walk(self, data: bytes, now_s: float) -> bytes:
        """Count the frames that begin in `data`; return what is to be parsed: only whole frame heads, and no GOAWAY.

        Raises:
            WireError: a frame or header block is too large, or there are too many cheap frames.
        """
        if self._head:
            data, self._head = self._head + data, b""
        kept: list[bytes] = []
        at = begin = 0
        end = len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                if self._goaway is not None:
                    self._goaway += data[at : at + step]
                    begin = at + step
                self._skip -= step
                at += step
                self._end_goaway()
                continue
            if end - at < _HEAD_BYTES:
                self._head = data[at:]
                end = at
                break
            self._skip = int.from_bytes(data[at : at + 3], "big")
            kind = data[at + 3]
            self._weigh(self._skip, kind, data[at + 4], now_s)
            if kind == _GOAWAY and self._skip >= 8:
                kept.append(data[begin:at])
                self._goaway = bytearray()
                begin = at + _HEAD_BYTES
            at += _HEAD_BYTES
        if not kept and begin == 0:
            return data if end == len(data) else data[:end]
        kept.append(data[begin:end])
        return b"".join(kept)

    def _end_goaway(self) -> None:
        if self._goaway is not None and not self._skip:
            self.last_stream = int.from_bytes(self._goaway[:4], "big") & 0x7FFF_FFFF
            self._goaway = None

    def _weigh(self, length: int, kind: int, flags: int, now_s: float) -> None:
        self._in_data = kind == _DATA
        if length > MAX_H2_FRAME_BYTES:
            raise WireError("frame_too_large")
        if kind in (_HEADERS, _PUSH_PROMISE, _CONTINUATION):
            self._weigh_headers(length, kind, flags, now_s)
        elif kind == _RST_STREAM:
            if not self.resets.take(now_s):
                raise WireError("reset_flood")
        elif kind == _DATA and (flags & _END_STREAM or length >= _SMALL_BYTES):
            return
        elif not self.control.take(now_s):
            raise WireError("flood")

    def _weigh_headers(self, length: int, kind: int, flags: int, now_s: float) -> None:
        self._block_bytes = length + (self._block_bytes if kind == _CONTINUATION else 0)
        self._in_block = not flags & _END_HEADERS
        if self._block_bytes > MAX_HEADER_BYTES:
            raise WireError("headers_too_large")
        if kind == _CONTINUATION and not self.control.take(now_s):
            raise WireError("flood")
