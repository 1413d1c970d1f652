"""The host's end of the console's cable, opened with pyserial: for a person, a program or an installer."""

import json
import os
import select
from pathlib import Path
from typing import Any

import serial

from tests.interop.serial_person import SerialPerson


class Cable(SerialPerson):
    """A serial port of this computer with a box at the other end."""

    def __init__(self, port: str) -> None:
        super().__init__(Path(port))
        self._serial: serial.Serial | None = None

    def plug(self) -> None:
        """Open the port."""
        self._serial = serial.Serial(str(self.port), 115_200, timeout=0, exclusive=True)
        self._master = self._serial.fileno()

    def unplug(self) -> None:
        """Close the port."""
        if self._serial is not None:
            self._serial.close()
        self._serial, self._master = None, -1

    def wake(self, within_s: float = 30) -> str:
        """Press Enter until the console greets; whatever it says to Enters too many is heard out."""
        self.hear_out(0)
        greeting = super().wake(within_s)
        self.hear_out(2)
        return greeting

    def say(self, line: str, *until: str, within_s: float = 120) -> str:
        """Type one line after everything said before; return what comes up to the first of `until` or the prompt."""
        self.hear_out(0)
        return super().say(line, *until, within_s=within_s)

    def hear_out(self, quiet_s: float) -> None:
        """Read until nothing has come for this long."""
        while select.select([self._master], [], [], quiet_s)[0]:
            self.transcript += os.read(self._master, 65_536)

    def fileno(self) -> int:
        """Return the descriptor of the open port."""
        return self._master

    def ask(self, *, within_s: float = 120, **fields: Any) -> dict[str, Any]:
        """Ask as a program does; return the whole reply."""
        self.hear_out(0)
        self.type(json.dumps(fields) + "\n")
        seen = self.read_until('"ok":', within_s=within_s)
        if not seen.endswith("\n"):
            seen += self.read_until("\n", within_s=within_s)
        reply: dict[str, Any] = json.loads(seen.strip().splitlines()[-1])
        return reply
