"""The system bus, by a connection that waits for nothing for ever.

Blocking, for a process that ends with its request. Source: the D-Bus specification, section "Message Bus
Specification": a connection begins by asking the bus for a name of its own.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

from jeepney import DBusErrorResponse  # type: ignore[import-untyped]
from jeepney.bus import get_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, prep_socket  # type: ignore[import-untyped]

CALL_TIMEOUT_S = 15.0


class NoBusError(OSError):
    """There is no system bus here."""


class _Connection(DBusConnection):  # type: ignore[misc]
    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        super().__init__(sock)

    def send_and_get_reply(self, message: Any, *, timeout: float | None = None) -> Any:  # noqa: ANN401 - the library's
        return super().send_and_get_reply(message, timeout=self._timeout_s if timeout is None else timeout)


def connect_to_bus(environment: Mapping[str, str] = os.environ, *, timeout_s: float = CALL_TIMEOUT_S) -> DBusConnection:
    """Return a connection to the bus that DBUS_SYSTEM_BUS_ADDRESS names, or to the system's, for the caller to close.

    Every call through it, the first one included, is answered within `timeout_s` or fails with TimeoutError.

    Raises:
        NoBusError: there is none.
        OSError: it does not answer.
    """
    try:
        sock = prep_socket(get_bus(environment.get("DBUS_SYSTEM_BUS_ADDRESS") or "SYSTEM"), timeout=timeout_s)
    except TimeoutError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise NoBusError(str(error)) from None
    try:
        return _Connection(sock, timeout_s)
    except OSError:
        sock.close()
        raise


def error_name(error: DBusErrorResponse) -> str:
    """Return why a service refused: the text may quote what was sent, the name of the error does not."""
    return str(error.name).rpartition(".")[2]
