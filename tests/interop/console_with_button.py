"""Runs the relay's command line on a machine without input devices: a named pipe of kernel events is the button."""

import os
import struct
import sys
import time
from pathlib import Path

from relay.box import button

KEY = 141


class PipeDevice:
    """A named pipe that is read as an input device; nothing is held down at the start."""

    def __init__(self, path: Path) -> None:
        # Open for writing too: a pipe that nobody writes to would be readable for ever.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> bytes:
        try:
            return os.read(self._descriptor, 64 * button.EVENT.size)
        except BlockingIOError:
            return b""

    def is_down(self, _key: int) -> bool:
        return False

    def close(self) -> None:
        os.close(self._descriptor)


def hold(path: Path, seconds: float, *, release: bool = True) -> None:
    """Tell whoever reads `path` that the key went down `seconds` ago, and that it came up now."""
    now_s = time.monotonic()
    with path.open("wb") as pipe:
        pipe.write(_event(now_s - seconds, 1))
        if release:
            pipe.write(_event(now_s, 0))


def _event(at_s: float, value: int) -> bytes:
    whole, part = int(at_s), int(at_s % 1 * 1e6)
    events = ((button.EV_KEY, KEY, value), (button.EV_SYN, button.SYN_REPORT, 0))
    return b"".join(struct.pack("@llHHi", whole, part, *event) for event in events)


if __name__ == "__main__":
    button.EventDevice = PipeDevice  # type: ignore[assignment,misc]
    from relay.cli import main

    sys.argv[0] = "relay"
    main()
