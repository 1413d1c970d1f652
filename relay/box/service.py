"""The service supervisor: systemd, or whatever speaks its two small protocols.

Notifications are datagrams of `KEY=VALUE` lines to the socket named by NOTIFY_SOCKET (sd_notify(3)); listening sockets
arrive as descriptors from 3 on, named by LISTEN_FDNAMES (sd_listen_fds(3)). Without a supervisor nothing happens.
"""

import os
import socket
import time
from collections.abc import Mapping

_FIRST_DESCRIPTOR = 3


class Supervisor:
    """Whoever started this process and wants to hear how it is.

    Attributes:
        present: whether there is one.
        watchdog_s: within how many seconds `alive` must be said again and again, None where nobody asks for it.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.present = bool(self._address)
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = (
            int(text) / 1_000_000 if mine and self._address and text.isascii() and text.isdigit() else None
        )

    def ready(self, status: str) -> None:
        """Say that the service serves; `status` is one line for people."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Say in one line for people how it is."""
        self._tell(f"STATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._tell("WATCHDOG=1")

    def more_time(self, seconds: float, status: str) -> None:
        """Ask for so much more time from now on before the start counts as failed; say why."""
        # The watchdog runs meanwhile where this process started anew in its place.
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", "WATCHDOG=1", f"STATUS={status}")

    def stopping(self, *, restart: bool) -> None:
        """Say that a clean stop has begun, or with `restart` that this process starts anew in its place.

        To the supervisor the latter is a reload, which ends with `ready`: a process that said it stops is killed.
        """
        if restart:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "WATCHDOG=1")
        else:
            self._tell("STOPPING=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as datagram:
            try:
                datagram.sendto("\n".join(lines).encode(), address)
            except OSError:
                # A supervisor that does not listen is not a reason to stop serving.
                return


def passed_sockets(environment: Mapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """Return the listening sockets that were passed to this process, by name.

    They are copies: the descriptors themselves stay as they are, for this process to find again after an exec.
    """
    count = environment.get("LISTEN_FDS", "")
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return {}
    return {
        (names[number] if number < len(names) else "") or str(number): socket.socket(
            fileno=os.dup(_FIRST_DESCRIPTOR + number)
        )
        for number in range(int(count))
    }
