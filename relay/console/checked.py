"""A checksum for lines of a cable that cannot be trusted: optional, the last member of the object.

`{"seq":1,"verb":"plan","crc":"xxxxxxxx"}`: CRC-32 (IEEE 802.3, as zlib has it) of the bytes in front of `,"crc"`, in
eight hexadecimal digits. A line that has it is answered by one that has it.
"""

import re
import zlib

from relay.base.errors import InvalidInputError

_END = re.compile(rb',\s?"crc":\s?"([0-9a-fA-F]{8})"\s?\}\s*\Z')


class DamagedLineError(InvalidInputError):
    """The line is not what was sent."""

    code = "input.crc"
    retryable = True


def take_checksum(line: bytes) -> tuple[bytes, bool]:
    """Return `line` without its checksum, and whether it had one.

    Raises:
        DamagedLineError: the checksum is not that of the line.
    """
    found = _END.search(line)
    if found is None:
        return line, False
    if zlib.crc32(line[: found.start()]) != int(found[1], 16):
        raise DamagedLineError("the line was damaged on its way: send it again")
    return line[: found.start()] + b"}", True


def add_checksum(line: bytes) -> bytes:
    """Return `line`, one JSON object, with its checksum as last member."""
    body = line.rstrip()[:-1]
    return b'%s,"crc":"%08x"}' % (body, zlib.crc32(body))
