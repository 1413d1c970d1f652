"""The kernel's `/dev/vcio` with the firmware behind it, as `ioctl` sees them.

Checked against drivers/char/broadcom/vcio.c of Raspberry Pi's kernel: the first word is the size of the whole buffer,
the kernel hands the firmware what lies between the first two words and the last, and sets the second word to
0x80000000 where the firmware answered; a failure is an error of the call itself.
"""

import errno
import struct

# _IOWR(100, 0, char *) of a 64-bit kernel, as its headers make it.
REQUEST = 0xC008_6400
PRIVATE, CUSTOMER = 0x0003_0081, 0x0003_0021


class FakeMailbox:
    """A board whose fuses hold `rows`, by the tag that reads them; a tag that is missing is unknown to its firmware.

    Attributes:
        asked: the words of every request, in order.
    """

    def __init__(self, rows: dict[int, tuple[int, ...]], *, fails: int = 0) -> None:
        self._rows = rows
        self._fails = fails
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, descriptor: int, request: int, buffer: bytearray, /) -> int:
        assert request == REQUEST
        if self._fails:
            raise OSError(self._fails, "refused")
        (size,) = struct.unpack_from("<I", buffer)
        assert size == len(buffer)
        words = list(struct.unpack(f"<{size // 4}I", buffer))
        self.asked.append(tuple(words))
        code, tag, values_bytes, request_bytes, first, count = words[1:7]
        if code != 0 or words[-1] != 0 or values_bytes != request_bytes or values_bytes != 4 * (2 + count):
            raise OSError(errno.EINVAL, "the firmware does not understand")
        if tag in self._rows:
            words[4] = 0x8000_0000 | values_bytes
            words[7 : 7 + count] = self._rows[tag][first : first + count]
        words[1] = 0x8000_0000
        struct.pack_into(f"<{len(words)}I", buffer, 0, *words)
        return 0
