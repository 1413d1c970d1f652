"""The one button of the board: held for 3 s it allows changes, held for 10 s it asks for a reset.

Blocking-free and without Trio: the process that owns it polls its descriptor. Source: Documentation/input/input.rst,
"Event interface", and Documentation/input/event-codes.rst, "EV_SYN" and "EV_KEY", of the kernel.
"""

import contextlib
import enum
import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from relay.base.errors import Fault, RelayError
from relay.box.attributes import text

if TYPE_CHECKING:
    # The console listens without ever loading what profiles are read with.
    from relay.box.profile import Button

ALLOW_AFTER_S = 3.0
RESET_NEAR_AFTER_S = 5.0
RESET_AFTER_S = 10.0

EVENT = struct.Struct("@llHHi")
EV_SYN, EV_KEY = 0, 1
SYN_REPORT, SYN_DROPPED = 0, 3

_READ_EVENTS = 64
_KEY_STATE_BYTES = 96
# include/uapi/linux/input.h: EVIOCGKEY(96) and EVIOCSCLOCKID.
_GET_KEYS = (2 << 30) | (_KEY_STATE_BYTES << 16) | (ord("E") << 8) | 0x18
_SET_CLOCK = (1 << 30) | (4 << 16) | (ord("E") << 8) | 0xA0
_INPUTS = "sys/class/input"


class ButtonGoneError(RelayError):
    """The input device is gone; this descriptor never comes back."""

    code = "button.gone"
    fault = Fault.BOX
    retryable = True


class Pressed(enum.Enum):
    """What the button says."""

    ALLOW = "allow"
    RESET_NEAR = "reset_near"
    RESET_CANCELLED = "reset_cancelled"
    RESET = "reset"


# Each step is said while the button is still down, so that the light can answer before it is let go.
_STEPS = (
    (ALLOW_AFTER_S, Pressed.ALLOW),
    (RESET_NEAR_AFTER_S, Pressed.RESET_NEAR),
    (RESET_AFTER_S, Pressed.RESET),
)


class Hold:
    """How long a key has been down and what that means, without a clock of its own; times are seconds of one clock."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._said = 0

    def press(self, at_s: float) -> None:
        """Note that the key went down; a key that is down already stays so."""
        if self._since_s is None:
            self._since_s, self._said = at_s, 0

    def release(self, at_s: float) -> list[Pressed]:
        """Return what was reached before the key came up, and whether that cancels a reset that was near."""
        return [*self.reach(at_s), *self.drop()]

    def drop(self) -> list[Pressed]:
        """Forget the hold; return whether that cancels a reset that was near."""
        near = self._since_s is not None and self._said and _STEPS[self._said - 1][1] is Pressed.RESET_NEAR
        self._since_s = None
        return [Pressed.RESET_CANCELLED] if near else []

    def reach(self, now_s: float) -> list[Pressed]:
        """Return what has been reached since the last look."""
        said = []
        while self._since_s is not None and self._said < len(_STEPS):
            after_s, what = _STEPS[self._said]
            if now_s - self._since_s < after_s:
                break
            self._said += 1
            said.append(what)
        return said

    def next_s(self) -> float | None:
        """Return when the next step is reached if the key stays down, None where none is."""
        if self._since_s is None or self._said == len(_STEPS):
            return None
        return self._since_s + _STEPS[self._said][0]


class InputDevice(Protocol):
    """One input device of the kernel, read without waiting; its events carry the monotonic clock."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        ...

    def read(self) -> bytes:
        """Return whole events, nothing where nothing has happened.

        Raises:
            OSError: the device is gone.
        """
        ...

    def is_down(self, key: int) -> bool:
        """Return whether the key is down now; key events that nobody has read yet are dropped.

        Raises:
            OSError: the device is gone.
        """
        ...

    def close(self) -> None:
        """Close the device."""
        ...


class EventDevice:
    """A device under `/dev/input`."""

    def __init__(self, path: Path) -> None:
        """Open it, for reading alone: whoever else listens to it goes on hearing it.

        Raises:
            OSError: it is not there, is no input device, or may not be read.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # The time of day may be set while somebody holds the button down.
            fcntl.ioctl(self._descriptor, _SET_CLOCK, struct.pack("@i", time.CLOCK_MONOTONIC))
        except OSError:
            os.close(self._descriptor)
            raise

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._descriptor

    def read(self) -> bytes:
        """Return whole events; see `InputDevice.read`."""
        try:
            return os.read(self._descriptor, _READ_EVENTS * EVENT.size)
        except BlockingIOError:
            return b""

    def is_down(self, key: int) -> bool:
        """Return whether the key is down; see `InputDevice.is_down`."""
        state = fcntl.ioctl(self._descriptor, _GET_KEYS, bytes(_KEY_STATE_BYTES))
        return bool(state[key // 8] >> key % 8 & 1)

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)


class PushButton:
    """One key of an input device, and what holding it means. A key that is down at the start does not count."""

    def __init__(self, device: InputDevice, key: int, *, now_s: Callable[[], float] = time.monotonic) -> None:
        """Begin to listen.

        Raises:
            OSError: the device is gone.
        """
        self._device = device
        self._key = key
        self._now_s = now_s
        self._hold = Hold()
        self._losing = False
        # A key that is stuck, or was held to get into a boot menu, must come up before it can mean anything.
        self._ignored = device.is_down(key)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._device.fileno()

    def due_s(self) -> float | None:
        """Return in how many seconds to call `read` again although nothing came, None where that is not needed."""
        next_s = self._hold.next_s()
        return None if next_s is None else max(0.0, next_s - self._now_s())

    def read(self) -> list[Pressed]:
        """Return what the button has said since the last call, in order.

        Raises:
            ButtonGoneError: the device is gone.
        """
        said: list[Pressed] = []
        try:
            while events := self._device.read():
                said += self._take(events)
        except OSError as error:
            raise ButtonGoneError(f"the button is gone: {error.strerror}") from None
        return said + self._hold.reach(self._now_s())

    def close(self) -> None:
        """Stop listening."""
        self._device.close()

    def _take(self, events: bytes) -> list[Pressed]:
        said: list[Pressed] = []
        for seconds, microseconds, kind, code, value in EVENT.iter_unpack(events):
            if kind == EV_SYN and code == SYN_DROPPED:
                self._losing = True
            elif self._losing:
                # Everything up to the next report belongs to what was lost.
                if kind == EV_SYN and code == SYN_REPORT:
                    self._losing = False
                    # What the kernel says now is newer than the rest of what was read.
                    return said + self._ask()
            elif kind == EV_KEY and code == self._key:
                said += self._turn(value, seconds + microseconds / 1e6)
        return said

    def _turn(self, value: int, at_s: float) -> list[Pressed]:
        if value == 0:
            self._ignored = False
            return self._hold.release(at_s)
        if value == 1 and not self._ignored:
            self._hold.press(at_s)
        return []

    def _ask(self) -> list[Pressed]:
        # It may have come up and gone down again meanwhile: a hold begins anew, and a reset that was near is off.
        now_s = self._now_s()
        cancelled = self._hold.drop()
        if not self._device.is_down(self._key):
            self._ignored = False
        elif not self._ignored:
            self._hold.press(now_s)
        return cancelled


def find_button(button: "Button", root: Path = Path("/")) -> Path | None:
    """Return the device under `/dev/input` that has the profile's button, None where the kernel shows none.

    Source: event-codes.rst, introduction: what a device can report is in class/input/event*/device/capabilities.
    """
    if button.source != "evdev":
        return None
    if button.device.startswith("/"):
        path = root / button.device.lstrip("/")
        return path if path.exists() else None
    for place in sorted((root / _INPUTS).glob("event*"), key=lambda place: (len(place.name), place.name)):
        if button.device in ("", text(place / "device/name")) and _has_key(
            place / "device/capabilities/key", button.key
        ):
            return root / "dev/input" / place.name
    return None


def open_button(button: "Button", root: Path = Path("/")) -> PushButton | None:
    """Return the profile's button, None where there is none or this user may not read it."""
    path = find_button(button, root)
    with contextlib.suppress(OSError):
        return None if path is None else PushButton(EventDevice(path), button.key)
    return None


def _has_key(path: Path, key: int) -> bool:
    # Words of the kernel's `unsigned long` in hexadecimal, the most significant first, leading zeros left out.
    word_bits = struct.calcsize("@l") * 8
    words = text(path).split()[::-1]
    try:
        return key // word_bits < len(words) and bool(int(words[key // word_bits], 16) >> key % word_bits & 1)
    except ValueError:
        return False
