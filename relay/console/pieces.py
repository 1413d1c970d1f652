"""A long text for a program on a bad line: in pieces, each with its checksum, any of them asked for again."""

import hashlib
import zlib
from typing import Any

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_DIAGNOSTICS_PIECE_BYTES


class Pieces:
    """One text, ASCII, until there is another."""

    def __init__(self) -> None:
        self._text = b""

    def put(self, text: str) -> None:
        """Have `text` given out from now on; an empty one is none."""
        self._text = text.encode("ascii", "replace")

    def at(self, offset: object) -> dict[str, Any]:
        """Return the piece that begins at byte `offset`, with what it takes to check it and the whole.

        Raises:
            InvalidInputError: it is no offset into the text.
        """
        if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < len(self._text):
            raise InvalidInputError(f"offset is a number below {len(self._text)}; offset 0 makes a new text")
        piece = self._text[offset : offset + MAX_DIAGNOSTICS_PIECE_BYTES]
        end = offset + len(piece)
        return {
            "offset": offset,
            "text": piece.decode("ascii"),
            "crc32": f"{zlib.crc32(piece):08x}",
            "next_offset": end if end < len(self._text) else None,
            "bytes": len(self._text),
            "sha256": hashlib.sha256(self._text).hexdigest(),
        }
