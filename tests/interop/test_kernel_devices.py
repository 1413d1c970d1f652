"""The fakes of the board's hardware against the kernel's own.

What is marked `guest` needs a kernel with these devices: `./box test guest` runs it in the emulated board, as root,
where nothing of it may be skipped. The same sentences hold for the fakes in every run.
"""

import contextlib
import errno
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from relay.box.button import EV_KEY, EV_SYN, EVENT, SYN_DROPPED, SYN_REPORT, EventDevice, InputDevice, find_button
from relay.box.profile import Button
from relay.box.randomness import random_source
from tests.fakes.input_device import FakeInputDevice

pytestmark = pytest.mark.interop

_UINPUT = Path("/dev/uinput")
_NAME = "doorstep-test"
_KEY, _OTHER = 0x100, 0x101
# include/uapi/linux/uinput.h
_SET_EVENT, _SET_KEY, _CREATE, _DESTROY, _SETUP = 0x40045564, 0x40045565, 0x5501, 0x5502, 0x405C5503
_NODE_WAIT_S = 5.0


class Keys(Protocol):
    """Fingers on the keys of a device."""

    def press(self, key: int) -> None: ...

    def release(self, key: int) -> None: ...

    def unplug(self) -> None: ...


class Fingers:
    """A device of the kernel's that this process pushes (Documentation/input/uinput.rst)."""

    def __init__(self) -> None:
        self._descriptor = os.open(_UINPUT, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self._descriptor, _SET_EVENT, EV_KEY)
        for key in (_KEY, _OTHER):
            fcntl.ioctl(self._descriptor, _SET_KEY, key)
        fcntl.ioctl(self._descriptor, _SETUP, struct.pack("@HHHH80sI", 6, 1, 1, 1, _NAME.encode(), 0))
        fcntl.ioctl(self._descriptor, _CREATE)

    def press(self, key: int) -> None:
        self._report(key, 1)

    def release(self, key: int) -> None:
        self._report(key, 0)

    def unplug(self) -> None:
        fcntl.ioctl(self._descriptor, _DESTROY)

    def close(self) -> None:
        os.close(self._descriptor)

    def _report(self, key: int, value: int) -> None:
        os.write(self._descriptor, EVENT.pack(0, 0, EV_KEY, key, value) + EVENT.pack(0, 0, EV_SYN, SYN_REPORT, 0))


def opened() -> EventDevice:
    """Return the device that was just made; its node appears a moment later, where somebody makes nodes."""
    end_s = time.monotonic() + _NODE_WAIT_S
    while time.monotonic() < end_s:
        path = find_button(Button(source="evdev", device=_NAME, key=_KEY))
        with contextlib.suppress(OSError):
            if path is not None:
                return EventDevice(path)
        threading.Event().wait(0.02)
    raise AssertionError(f"nobody makes the node of {_NAME} under /dev/input")


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.guest)])
def input_device(request: pytest.FixtureRequest) -> Iterator[tuple[Keys, InputDevice]]:
    """Return a device and the fingers on it."""
    if request.param == "fake":
        fake = FakeInputDevice()
        yield fake, fake
        fake.close()
        return
    fingers = Fingers()
    try:
        device = opened()
        yield fingers, device
        device.close()
    finally:
        fingers.close()


def told(device: InputDevice) -> list[tuple[int, int, int]]:
    """Return the kinds, codes and values of all events that wait."""
    events = b""
    while more := device.read():
        events += more
    return [(kind, code, value) for _, _, kind, code, value in EVENT.iter_unpack(events)]


REPORT = (EV_SYN, SYN_REPORT, 0)


def test_a_change_is_one_packet_and_what_does_not_change_is_none(input_device: tuple[Keys, InputDevice]) -> None:
    keys, device = input_device
    assert told(device) == []
    keys.press(_KEY)
    keys.press(_KEY)
    assert told(device) == [(EV_KEY, _KEY, 1), REPORT]
    assert device.is_down(_KEY)
    keys.release(_KEY)
    keys.release(_KEY)
    assert told(device) == [(EV_KEY, _KEY, 0), REPORT]
    assert not device.is_down(_KEY)


def test_asking_for_the_keys_drops_the_key_events_that_wait(input_device: tuple[Keys, InputDevice]) -> None:
    keys, device = input_device
    keys.press(_KEY)
    keys.press(_OTHER)
    assert device.is_down(_KEY)
    assert [event for event in told(device) if event != REPORT] == []
    keys.release(_OTHER)
    assert told(device) == [(EV_KEY, _OTHER, 0), REPORT]


def test_a_full_queue_leaves_a_mark_and_the_newest(input_device: tuple[Keys, InputDevice]) -> None:
    keys, device = input_device
    keys.press(_KEY)
    for _ in range(32):
        keys.press(_OTHER)
        keys.release(_OTHER)
    found = told(device)
    assert found[0] == (EV_SYN, SYN_DROPPED, 0)
    assert REPORT in found
    assert (EV_KEY, _KEY, 1) not in found
    assert len(found) < 64
    assert device.is_down(_KEY)


def test_an_unplugged_device_says_so(input_device: tuple[Keys, InputDevice]) -> None:
    keys, device = input_device
    keys.unplug()
    with pytest.raises(OSError, match="No such device") as caught:
        device.read()
    assert caught.value.errno == errno.ENODEV


@pytest.mark.guest
def test_the_kernels_events_carry_the_monotonic_clock() -> None:
    fingers = Fingers()
    device = opened()
    before_s = time.monotonic()
    fingers.press(_KEY)
    seconds, microseconds, *_ = next(EVENT.iter_unpack(device.read()))
    assert before_s - 0.001 <= seconds + microseconds / 1e6 <= time.monotonic()
    device.close()
    fingers.close()


@pytest.mark.guest
def test_the_kernel_names_its_source_of_random_numbers_as_the_fake_does() -> None:
    folder = Path("/sys/class/misc/hw_random")
    available = (folder / "rng_available").read_text().split()
    current = (folder / "rng_current").read_text().strip()
    assert random_source() == ("" if current == "none" else current)
    assert random_source() in ("", *available)
