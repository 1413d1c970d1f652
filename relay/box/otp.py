"""The fuses of a Raspberry Pi: eight rows of 32 bits that were set once and for ever. They are read here, never set.

The firmware's property interface is reached through `/dev/vcio` (drivers/char/broadcom/vcio.c and
include/soc/bcm2835/raspberrypi-firmware.h of Raspberry Pi's kernel; `vcmailbox` and `rpi-otp-private-key` of
Raspberry Pi's own tools ask in the same way). The rows of the device's private key (56 to 63, BCM2711 and BCM2712) are
not part of `vcgencmd otp_dump`; the customer rows, which all boards have, are. Root and group `video` can read both.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Protocol

from relay.base.errors import ConfigError, KeyAbsentError

DEVICE = Path("/dev/vcio")
ROWS = {"private": 0x0003_0081, "customer": 0x0003_0021}
"""Kinds of rows by the tag that reads them: GET_PRIVATE_KEY and GET_CUSTOMER_OTP."""
SETTING_COMMAND = "rpi-otp-private-key -w $(openssl rand -hex 32)"

# _IOWR(100, 0, char *): both ways, the size of a pointer, VCIO_IOC_MAGIC, number 0.
_PROPERTY = 3 << 30 | struct.calcsize("P") << 16 | 100 << 8
_COUNT = 8
# Size of it all and code; tag, size of its values, size of the request's; first row and count; the rows; the end tag.
_BUFFER = struct.Struct("<2I 3I 2I 8I I")
_VALUES_BYTES = 4 * (2 + _COUNT)
_SUCCESS = 0x8000_0000
_NOT_THERE = (errno.ENOENT, errno.ENODEV, errno.ENXIO)


class Ioctl(Protocol):
    """`fcntl.ioctl` with a buffer that the kernel changes."""

    def __call__(self, descriptor: int, request: int, buffer: bytearray, /) -> int:
        """Return what the kernel returns.

        Raises:
            OSError: it refused.
        """
        ...


class Fuses:
    """The rows of this board that can hold a key."""

    def __init__(self, device: Path = DEVICE, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._device = device
        self._ioctl = ioctl

    def find(self) -> str:
        """Return which rows hold something: `private`, or else `customer`.

        Raises:
            ConfigError: none does, or this board has no such rows.
        """
        for kind in ROWS:
            if any(self.read(kind)):
                return kind
        raise ConfigError(
            "no key was ever set in the fuses of this board (all rows are zero). Setting one is for ever and cannot be "
            f"undone, so the box never does it: on a Raspberry Pi 4 or 5 root runs {SETTING_COMMAND}"
        )

    def read(self, kind: str) -> bytes:
        """Return the 32 bytes of the rows `kind`; zeros where nobody set them, or the firmware does not give them.

        Raises:
            KeyAbsentError: the firmware's device is not there (yet).
            ConfigError: this process may not ask it.
        """
        request = bytearray(
            _BUFFER.pack(_BUFFER.size, 0, ROWS[kind], _VALUES_BYTES, _VALUES_BYTES, 0, _COUNT, *[0] * 9)
        )
        try:
            descriptor = os.open(self._device, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NOT_THERE:
                raise KeyAbsentError(
                    f"{self._device} is not there: this is no Raspberry Pi, or its driver is"
                ) from None
            raise ConfigError(f"{self._device} may not be opened: {error.strerror}") from None
        try:
            self._ioctl(descriptor, _PROPERTY, request)
        except OSError as error:
            # A firmware that does not know the tag, or was told to keep the key to itself, fails the whole list.
            if error.errno in (errno.EINVAL, errno.EIO):
                return bytes(4 * _COUNT)
            raise ConfigError(f"{self._device} refuses: {error.strerror}") from None
        finally:
            os.close(descriptor)
        _, code, _, _, _, _, _, *rows, _ = _BUFFER.unpack(request)
        # What the firmware does not answer stays as it was sent: zeros.
        return struct.pack(">8I", *rows) if code == _SUCCESS else bytes(4 * _COUNT)
