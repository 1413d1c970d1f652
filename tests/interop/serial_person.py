"""A person at a serial terminal: a pty whose other end has a fixed name, unplugged and plugged in at will."""

import os
import pty
import select
import time
import tty
from pathlib import Path
from typing import Self


class SerialPerson:
    """Types and reads on a line that the box knows as `port`."""

    def __init__(self, port: Path) -> None:
        self.port = port
        self.transcript = b""
        self._master = self._slave = -1

    def plug(self) -> None:
        """Make the port appear, as a new device under the old name, like a USB port does."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        name = self.port.with_suffix(".new")
        name.symlink_to(os.ttyname(self._slave))
        name.rename(self.port)

    def unplug(self) -> None:
        """Make the port disappear."""
        self.port.unlink(missing_ok=True)
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1

    def type(self, text: str) -> None:
        """Type without waiting for anything."""
        os.write(self._master, text.encode())

    def read_until(self, *texts: str, within_s: float = 30) -> str:
        """Return everything up to the first of `texts`.

        Raises:
            TimeoutError: none of them came; the message holds what did.
        """
        seen, deadline = b"", time.monotonic() + within_s
        while not any(text.encode() in seen for text in texts):
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{texts} never came: {seen!r}")
            piece = os.read(self._master, 65_536)
            self.transcript += piece
            seen += piece
        return seen.decode()

    def say(self, line: str, *until: str, within_s: float = 30) -> str:
        """Type one line and return everything up to the first of `until`, or the next prompt."""
        self.type(line + "\r")
        return self.read_until(*(until or ("new box> ", "relay> ")), within_s=within_s)

    def wake(self, within_s: float = 30) -> str:
        """Press Enter until the console has seen the port and greets."""
        deadline = time.monotonic() + within_s
        while True:
            self.type("\r")
            try:
                return self.read_until("new box> ", "relay> ", within_s=1)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def settle(self) -> None:
        """Wake it, and read what the Enters that took brought, so that the next prompt is that of the next line."""
        self.wake()
        self.say("help", "begins a program's line.\r\nrelay> ")

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
