"""Calls to NetworkManager over D-Bus, and to the neighbour that keeps the machine's names.

Blocking, for a process that ends with its request. Source: NetworkManager D-Bus API, and the D-Bus specification,
section "Standard Interfaces", for properties.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from jeepney import DBusAddress, Properties, new_method_call  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

from relay.base.errors import Fault, RelayError

NAME = "org.freedesktop.NetworkManager"
ROOT = "/org/freedesktop/NetworkManager"
SETTINGS_ROOT = f"{ROOT}/Settings"
SETTINGS, CONNECTION = f"{NAME}.Settings", f"{NAME}.Settings.Connection"
DEVICE, WIRELESS, ACTIVE = f"{NAME}.Device", f"{NAME}.Device.Wireless", f"{NAME}.Connection.Active"
NOTHING = "/"
_LOOK_EVERY_S = 0.1


class NetworkUnavailableError(RelayError):
    """NetworkManager does not run here, or has no device of this kind."""

    code = "network.unavailable"
    fault = Fault.BOX


class NetworkRefusedError(RelayError):
    """The network could not be set up so; what was there before is back."""

    code = "network.refused"
    fault = Fault.USER
    retryable = True


class NetworkBus:
    """One connection to the system bus, and questions to the network service."""

    def __init__(self, bus: DBusConnection) -> None:
        self._bus = bus

    def call(
        self,
        path: str,
        interface: str,
        method: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        *,
        name: str = NAME,
    ) -> Any:  # noqa: ANN401 - as D-Bus has it
        """Return what a method answers.

        Raises:
            DBusErrorResponse: it was refused.
            NetworkUnavailableError: nobody answers.
        """
        address = DBusAddress(path, bus_name=name, interface=interface)
        return self._ask(new_method_call(address, method, signature or None, body))

    def get(self, path: str, interface: str, key: str, *, name: str = NAME) -> Any:  # noqa: ANN401 - as D-Bus has it
        """Return one property; raises as `call`."""
        ((_, value),) = self._ask(Properties(DBusAddress(path, bus_name=name, interface=interface)).get(key))
        return value

    def all_of(self, path: str, interface: str) -> dict[str, Any]:
        """Return all properties of an object; raises as `call`."""
        (found,) = self._ask(Properties(DBusAddress(path, bus_name=NAME, interface=interface)).get_all())
        return {key: value for key, (_, value) in found.items()}

    def wait(self, happened: Callable[[], bool], within_s: float) -> bool:
        """Return whether it happened in time."""
        deadline = time.monotonic() + within_s
        while not happened():
            if time.monotonic() >= deadline:
                return False
            # Signals would need a match rule and a loop for the sake of a few looks.
            threading.Event().wait(_LOOK_EVERY_S)
        return True

    def _ask(self, message: Any) -> Any:  # noqa: ANN401 - as D-Bus has it
        try:
            return unwrap_msg(self._bus.send_and_get_reply(message))
        except (TimeoutError, OSError):
            raise NetworkUnavailableError("the network service does not answer") from None
