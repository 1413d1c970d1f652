"""The two-part body of federated media: made in pieces, read in pieces of any size. No I/O.

Source: Matrix S2S v1.19, "Content Repository"; RFC 2046 section 5.1.
"""

import re
from dataclasses import dataclass

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_MULTIPART_HEADER_BYTES

_BOUNDARY = re.compile(r"[0-9a-zA-Z'()+_,./:=? -]{1,70}")

_PARAMETER = re.compile(r"(?:^|;)[ \t]*boundary=(?:\"([^\"]*)\"|([^;\" \t]+))", re.IGNORECASE)


def prologue(boundary: str, content_type: str, disposition: str) -> bytes:
    """Return what stands before the media bytes: the empty JSON part, and the headers of the second part."""
    return (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Disposition: {disposition}\r\n\r\n"
    ).encode("utf-8", "replace")


def epilogue(boundary: str) -> bytes:
    """Return what stands after the media bytes."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def boundary_of(content_type: str) -> str:
    """Return the boundary a `Content-Type` header names.

    Raises:
        InvalidInputError: it is not multipart/mixed, or names no usable boundary.
    """
    kind, _, parameters = content_type.partition(";")
    found = _PARAMETER.search(parameters)
    if kind.strip().lower() != "multipart/mixed" or found is None:
        raise InvalidInputError("the media answer is not multipart/mixed with a boundary")
    boundary = found[1] or found[2]
    if not _BOUNDARY.fullmatch(boundary) or boundary.endswith(" "):
        raise InvalidInputError("the media answer has a boundary that RFC 2046 does not allow")
    return boundary


@dataclass(slots=True)
class MediaPart:
    """Reads the second part out of a multipart body.

    Attributes:
        headers: of the second part, names in lower case; None until they have arrived.
        finished: whether the closing boundary has been seen.
    """

    boundary: str
    headers: dict[str, str] | None = None
    finished: bool = False
    _buffer: bytes = b"\r\n"  # so that a boundary on the very first line is found like any other
    _parts: int = 0
    _skip: int = 2

    def receive(self, data: bytes) -> bytes:
        """Consume any number of bytes; return the media bytes that are certain so far.

        Raises:
            InvalidInputError: the parts' headers are too long, or there are not exactly two parts.
        """
        if self.finished:
            return b""
        self._buffer += data
        while self.headers is None:
            if not self._read_headers():
                return b""
        return self._read_content()

    def close(self) -> None:
        """Say that the body has ended.

        Raises:
            InvalidInputError: it ended before the closing boundary.
        """
        if not self.finished:
            raise InvalidInputError("the media answer ends in the middle")

    def _read_headers(self) -> bool:
        delimiter = b"\r\n--" + self.boundary.encode("ascii") + b"\r\n"
        start = self._buffer.find(delimiter)
        end = -1 if start < 0 else self._buffer.find(b"\r\n\r\n", start + len(delimiter) - 2)
        if end < 0:
            if len(self._buffer) > MAX_MULTIPART_HEADER_BYTES:
                raise InvalidInputError(f"a part's headers are over {MAX_MULTIPART_HEADER_BYTES} bytes")
            return False
        block = self._buffer[start + len(delimiter) : end]
        # The line end before a boundary belongs to the boundary: that of an empty part is the one after its headers.
        self._buffer = self._buffer[end + 2 :]
        self._parts += 1
        if self._parts == 2:
            self.headers = _parse_headers(block)
        return True

    def _read_content(self) -> bytes:
        delimiter = b"\r\n--" + self.boundary.encode("ascii")
        end = self._buffer.find(delimiter)
        if end < 0:
            return self._take(len(self._buffer) - len(delimiter) + 1)
        tail = self._buffer[end + len(delimiter) : end + len(delimiter) + 2]
        if len(tail) < 2:
            return self._take(end)
        if tail != b"--":
            raise InvalidInputError("the media answer has more than two parts")
        self.finished = True
        return self._take(end)

    def _take(self, count: int) -> bytes:
        """Return `count` bytes, without the line end that stands between headers and content."""
        ready, self._buffer = self._buffer[: max(count, 0)], self._buffer[max(count, 0) :]
        skipped = min(self._skip, len(ready))
        self._skip -= skipped
        return ready[skipped:]


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers
