"""Calls to NetworkManager over D-Bus, and to the neighbour that keeps the machine's names.

Blocking, for a process that ends with its request. Source: NetworkManager D-Bus API, and the D-Bus specification,
section "Standard Interfaces", for properties.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, Properties, new_method_call  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

from relay.base.errors import Fault, RelayError
from relay.box.system_bus import CALL_TIMEOUT_S, NoBusError, connect_to_bus, error_name

NAME = "org.freedesktop.NetworkManager"
ROOT = "/org/freedesktop/NetworkManager"
SETTINGS_ROOT = f"{ROOT}/Settings"
SETTINGS, CONNECTION = f"{NAME}.Settings", f"{NAME}.Settings.Connection"
DEVICE, WIRELESS, ACTIVE = f"{NAME}.Device", f"{NAME}.Device.Wireless", f"{NAME}.Connection.Active"
NOTHING = "/"
_LOOK_EVERY_S = 0.1
_NOBODY = ("ServiceUnknown", "NameHasNoOwner")


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


@contextmanager
def open_network_bus(
    environment: Mapping[str, str] = os.environ, *, timeout_s: float = CALL_TIMEOUT_S
) -> Iterator[NetworkBus]:
    """Connect to the network service of this machine, on the bus that DBUS_SYSTEM_BUS_ADDRESS names, if it names one.

    Raises:
        NetworkUnavailableError: there is no bus, nobody on it looks after networks, or it refuses what it should not.
    """
    try:
        bus = connect_to_bus(environment, timeout_s=timeout_s)
    except NoBusError:
        raise NetworkUnavailableError(
            "there is no system bus here: the network cannot be set up from this box"
        ) from None
    except OSError:
        raise NetworkUnavailableError("the system bus does not answer: the network cannot be set up now") from None
    try:
        yield NetworkBus(bus)
    except DBusErrorResponse as error:
        if error_name(error) in _NOBODY:
            raise NetworkUnavailableError("NetworkManager does not run on this box") from None
        raise NetworkUnavailableError(f"the network service refused: {error_name(error)}") from None
    finally:
        bus.close()
