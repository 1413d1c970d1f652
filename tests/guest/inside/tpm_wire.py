"""Runs in the guest as root: a TPM of the kernel's whose chip is at the other end of a virtio serial port.

Debian's arm64 kernel has no driver for QEMU's own TPM (tpm-tis-device). Its proxy (drivers/char/tpm/tpm_vtpm_proxy.c,
Documentation/security/tpm/tpm_vtpm_proxy.rst) makes /dev/tpm0 and /dev/tpmrm0 of a descriptor.
"""

import fcntl
import os
import select
import socket
import struct
import sys

# include/uapi/linux/vtpm_proxy.h: VTPM_PROXY_IOC_NEW_DEV with flags, tpm_num, fd, major, minor.
_NEW = struct.Struct("=IIIII")
_NEW_DEV = (3 << 30) | (_NEW.size << 16) | (0xA1 << 8)
_TPM2 = 1
_SET_LOCALITY = 0x2000_1000
_DONE = struct.pack(">HII", 0x8001, 10, 0)


def main() -> None:
    """Carry commands and answers until the power goes."""
    with open("/dev/vtpmx", "rb") as maker:
        made = bytearray(_NEW.pack(_TPM2, 0, 0, 0, 0))
        fcntl.ioctl(maker, _NEW_DEV, made)
    kernel = _NEW.unpack(made)[2]
    line = os.open("/dev/virtio-ports/tpm", os.O_RDWR)
    notify = os.environ.get("NOTIFY_SOCKET", "")
    told = not notify
    while True:
        if not told and os.path.exists("/dev/tpmrm0"):
            told = True
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
                datagram.sendto(b"READY=1", notify)
        if not select.select([kernel], [], [], None if told else 0.2)[0]:
            continue
        command = os.read(kernel, 4096)
        if struct.unpack_from(">I", command, 6)[0] == _SET_LOCALITY:
            # The kernel's word to its proxy, not to the chip.
            os.write(kernel, _DONE)
            continue
        os.write(line, command)
        answer = b""
        while len(answer) < 10 or len(answer) < struct.unpack_from(">I", answer, 2)[0]:
            more = os.read(line, 4096)
            if not more:
                sys.exit("the chip is gone")
            answer += more
        os.write(kernel, answer)


if __name__ == "__main__":
    main()
