"""A light as the kernel shows one: the chosen trigger in brackets, and attributes that come and go with it.

tests/interop/test_kernel_board.py holds it against a real one.
"""

import errno
import os
from pathlib import Path

from relay.box.light import Shown, StatusLight

# What a trigger brings: ledtrig-timer.c, ledtrig-heartbeat.c and ledtrig-pattern.c of the kernel.
TRIGGERS = {
    "none": {},
    "timer": {"delay_on": "500\n", "delay_off": "500\n"},
    "heartbeat": {"invert": "0\n"},
    "pattern": {"pattern": "\n", "hw_pattern": "\n", "repeat": "-1\n"},
}


class KernelLight(StatusLight):
    """A status light whose writes change the files as the kernel does."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "ACT"
        if not self.place.exists():
            self.place.mkdir()
            (self.place / "brightness").write_text("0\n")
            # As a GPIO has it (leds-gpio.c).
            (self.place / "max_brightness").write_text("1\n")
            self.choose("heartbeat")
        super().__init__(["ACT"], folder)

    def choose(self, trigger: str) -> None:
        (self.place / "trigger").write_text(
            " ".join(f"[{name}]" if name == trigger else name for name in TRIGGERS) + "\n"
        )
        for name in {name for brought in TRIGGERS.values() for name in brought} - TRIGGERS[trigger].keys():
            (self.place / name).unlink(missing_ok=True)
        for name, text in TRIGGERS[trigger].items():
            (self.place / name).write_text(text)

    def look(self) -> dict[str, str]:
        """Return what can be seen of it."""
        return self._facts()

    def look_of(self, what: Shown) -> dict[str, str]:
        """Return what can be seen of a light that shows `what`."""
        before = {path: path.read_text() for path in self.place.iterdir()}
        self._shown = None
        self.show(what)
        look = self.look()
        for path in set(self.place.iterdir()) - before.keys():
            path.unlink()
        for path, text in before.items():
            path.write_text(text)
        self._shown = None
        return look

    def _write(self, name: str, text: str) -> None:
        if name == "trigger":
            if text not in TRIGGERS:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self.choose(text)
        elif name == "pattern" and set(text.split()[::2]) - {"0", "1"}:
            # pattern_trig_store_patterns_string in ledtrig-pattern.c.
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        else:
            # A file must be there already: nobody makes one in sysfs.
            with (self.place / name).open("r+") as attribute:
                attribute.truncate()
                attribute.write(f"{text}\n")
