"""A light and a button on two pins of the emulated board: the box's own overlays, and the other end of the wires.

QEMU's board has a PL061 with eight GPIO pins. Its qtest protocol (docs/devel/qtest.rst) sets the level of an input pin
and reads the chip's registers, so the host does what a finger does and sees what an eye sees.
"""

import re
import socket
import subprocess
import threading
import time
from pathlib import Path

OVERLAYS = Path(__file__).resolve().parents[2] / "hw/overlays"
_LIGHT_PIN, _BUTTON_PIN = 6, 5
CHIP_TYPE = "child<pl061>"
_CHIP, _CHIP_AT = "/pl061@9030000", 0x0903_0000
# The overlays as they are shipped, but for the pins: their own names of nodes, labels and keys are what is tried.
_SHIPPED = {"status-led-radxa.dts": _LIGHT_PIN, "button-radxa.dts": _BUTTON_PIN}
_PIN = re.compile(r"gpios = <&\w+ \d+ (0x[0-9a-f]+|\d+)>")


def board_tree(folder: Path, machine: str) -> Path:
    """Return the device tree of QEMU's `machine` with the box's overlays for light and button laid over it."""
    base, whole = folder / "base.dtb", folder / "board.dtb"
    _run(
        "qemu-system-aarch64",
        "-M",
        f"{machine},dumpdtb={base}",
        "-cpu",
        "cortex-a53",
        "-nodefaults",
        "-display",
        "none",
    )
    # A label, as the trees of boards have them: QEMU writes none.
    _run("fdtput", "-p", "-t", "s", str(base), "/__symbols__", "gpio", _CHIP)
    layers = []
    for name, pin in _SHIPPED.items():
        source = folder / name
        source.write_text(_PIN.sub(rf"gpios = <&gpio {pin} \1>", (OVERLAYS / name).read_text()))
        layers.append(str(source.with_suffix(".dtbo")))
        _run("dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", layers[-1], str(source))
    _run("fdtoverlay", "-i", str(base), "-o", str(whole), *layers)
    return whole


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Wires:
    """The pins of a running board, from outside."""

    def __init__(self, connection: socket.socket, chip: str) -> None:
        """Begin on QEMU's qtest socket; `chip` is QEMU's path of the GPIO chip."""
        self._chip = chip
        self._socket = connection
        self._socket.settimeout(30)
        self._lines = self._socket.makefile("rw", encoding="ascii", newline="\n")
        self.release()

    def press(self) -> None:
        """Close the button's contact, which pulls the pin to ground."""
        self._level(0)

    def release(self) -> None:
        """Let the button go; the pull-up pulls the pin up."""
        self._level(1)

    def light_is_on(self) -> bool:
        """Return whether there is a voltage on the light's pin (PL061 TRM, GPIODATA: the address masks the pins)."""
        return bool(int(self._ask(f"readl {_CHIP_AT + (4 << _LIGHT_PIN):#x}"), 16))

    def watch_light(self, seconds: float) -> list[bool]:
        """Return whether the light was on, a hundred times a second."""
        seen: list[bool] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            seen.append(self.light_is_on())
            threading.Event().wait(0.01)  # looks at it, as an eye does
        return seen

    def close(self) -> None:
        """Let go of the wires."""
        self._lines.close()
        self._socket.close()

    def _level(self, level: int) -> None:
        self._ask(f"set_irq_in {self._chip} unnamed-gpio-in {_BUTTON_PIN} {level}")

    def _ask(self, command: str) -> str:
        self._lines.write(command + "\n")
        self._lines.flush()
        while True:
            line = self._lines.readline().strip()
            if line.startswith("OK"):
                return line.removeprefix("OK").strip() or "0"
            if not line.startswith("IRQ"):
                raise OSError(f"QEMU refuses {command!r}: {line!r}")
