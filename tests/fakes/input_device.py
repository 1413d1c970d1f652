"""An input device as evdev shows one; tests/interop/test_kernel_devices.py holds it against a real one."""

import errno
import os

from relay.box.button import EV_KEY, EV_SYN, EVENT, SYN_DROPPED, SYN_REPORT

_PRESSED, _RELEASED, _REPEATED = 1, 0, 2


class FakeInputDevice:
    """One device with keys.

    Input events of one moment are ended by SYN_REPORT, and a client reads whole events of whole packets
    (Documentation/input/input.rst, "Event interface"). Its queue holds 64; an event that does not fit leaves
    SYN_DROPPED and itself (event-codes.rst, "EV_SYN"). Asking for the keys drops the key events that wait and the
    empty packets they leave. Values that do not change are not reported ("EV_KEY" and introduction).
    """

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.down: set[int] = set()
        self.gone = False
        self._queue: list[tuple[int, int, int, int, int]] = []
        self._whole = 0
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def press(self, key: int) -> None:
        if key not in self.down:
            self.down.add(key)
            self._report(key, _PRESSED)

    def release(self, key: int) -> None:
        if key in self.down:
            self.down.discard(key)
            self._report(key, _RELEASED)

    def repeat(self, key: int) -> None:
        self._report(key, _REPEATED)

    def unplug(self) -> None:
        self.gone = True

    def fileno(self) -> int:
        return self._ready

    def read(self) -> bytes:
        self._check()
        events = b"".join(EVENT.pack(*event) for event in self._queue[: self._whole])
        del self._queue[: self._whole]
        self._settle(0)
        return events

    def is_down(self, key: int) -> bool:
        self._check()
        kept: list[tuple[int, int, int, int, int]] = []
        packet = 1
        for event in self._queue:
            is_report = event[2:4] == (EV_SYN, SYN_REPORT)
            if event[2] == EV_KEY or (is_report and not packet):
                continue
            kept.append(event)
            packet = 0 if is_report else packet + 1
        self._queue = kept
        self._settle(len(kept))
        return key in self.down

    def close(self) -> None:
        os.close(self._ready)

    def _check(self) -> None:
        if self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def _report(self, key: int, value: int) -> None:
        self._pass(EV_KEY, key, value)
        self._pass(EV_SYN, SYN_REPORT, 0)
        self._settle(len(self._queue))

    def _pass(self, kind: int, code: int, value: int) -> None:
        at = (int(self.now_s), round(self.now_s % 1 * 1e6))
        self._queue.append((*at, kind, code, value))
        if len(self._queue) >= 64:
            self._queue[:-1] = [(*at, EV_SYN, SYN_DROPPED, 0)]

    def _settle(self, whole: int) -> None:
        self._whole = whole
        if whole:
            os.eventfd_write(self._ready, 1)
        else:
            try:
                os.eventfd_read(self._ready)
            except BlockingIOError:
                return
