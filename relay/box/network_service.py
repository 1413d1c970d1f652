"""NetworkManager over D-Bus: how the box is connected, its interfaces, its Wi-Fi, its names.

Blocking, for a process that ends with its request. Source: NetworkManager D-Bus API, interfaces
org.freedesktop.NetworkManager and .Settings; org.freedesktop.hostname1(5) of systemd.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jeepney import DBusErrorResponse  # type: ignore[import-untyped]

from relay.base.ending import ends_in_order
from relay.base.errors import InvalidInputError
from relay.box.network_bus import NAME, ROOT, SETTINGS, SETTINGS_ROOT, NetworkBus, NetworkUnavailableError
from relay.box.network_changes import Changes
from relay.box.network_links import ETHERNET, WIFI, Links
from relay.box.network_wifi import Wifi
from relay.box.system_bus import CALL_TIMEOUT_S, NoBusError, connect_to_bus, error_name

_HOST_NAME = "org.freedesktop.hostname1"
_HOST_ROOT = "/org/freedesktop/hostname1"
_ONLINE_STATES = (60, 70)  # connected to a site, connected to the world
_NOBODY = ("ServiceUnknown", "NameHasNoOwner")


@dataclass(frozen=True, slots=True)
class NetworkState:
    """Whether the box is online, by what it could be, and where it is reached.

    Attributes:
        online: whether it has a way to anywhere.
        wifi: whether it has Wi-Fi.
        ethernet: whether it has Ethernet.
        addresses: its IPv4 addresses.
        hostname: its name.
        interfaces: each in plain words: `name`, `kind`, `state`, `profile`, and for `ipv4` and `ipv6` each `how`,
            `addresses`, `gateway`, `dns`.
    """

    online: bool
    wifi: bool
    ethernet: bool
    addresses: tuple[str, ...]
    hostname: str
    interfaces: tuple[dict[str, Any], ...]


class NetworkService:
    """One connection to the network service; open it with `with open_network_service(...)`."""

    def __init__(self, bus: NetworkBus) -> None:
        self._bus = bus
        self.links = Links(bus)
        self.changes = Changes(bus)
        self.wifi = Wifi(bus)

    def state(self) -> NetworkState:
        """Return how the box is connected now."""
        interfaces = self.links.described()
        kinds = {found["kind"] for found in interfaces}
        addresses = [one.partition("/")[0] for found in interfaces for one in found["ipv4"]["addresses"]]
        return NetworkState(
            online=self._bus.get(ROOT, NAME, "State") in _ONLINE_STATES,
            wifi=WIFI in kinds,
            ethernet=ETHERNET in kinds,
            addresses=tuple(addresses),
            hostname=self.hostname(),
            interfaces=tuple(interfaces),
        )

    def hostname(self) -> str:
        """Return the host name, as the service has it."""
        return str(self._bus.get(SETTINGS_ROOT, SETTINGS, "Hostname"))

    def set_hostname(self, name: str) -> None:
        """Give the box another host name, kept for later starts.

        Raises:
            InvalidInputError: it cannot be one.
        """
        try:
            self._bus.call(SETTINGS_ROOT, SETTINGS, "SaveHostname", "s", (name,))
        except DBusErrorResponse as error:
            if error_name(error) != "InvalidHostname":
                raise
            raise InvalidInputError("a host name is of letters, digits and hyphens, in parts divided by dots") from None

    def device_name(self) -> str:
        """Return the name of the box for people, empty where it was given none."""
        return str(self._bus.get(_HOST_ROOT, _HOST_NAME, "PrettyHostname", name=_HOST_NAME))

    def set_device_name(self, text: str) -> None:
        """Give the box a name for people (org.freedesktop.hostname1)."""
        self._bus.call(_HOST_ROOT, _HOST_NAME, "SetPrettyHostname", "sb", (text, False), name=_HOST_NAME)


@contextmanager
def open_network_service(
    environment: Mapping[str, str] = os.environ, *, timeout_s: float = CALL_TIMEOUT_S
) -> Iterator[NetworkService]:
    """Connect to the network service of this machine, on the bus that DBUS_SYSTEM_BUS_ADDRESS names, if it names one.

    Whoever ends the process meanwhile has what it began taken back.

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
        with ends_in_order():
            yield NetworkService(NetworkBus(bus))
    except DBusErrorResponse as error:
        if error_name(error) in _NOBODY:
            raise NetworkUnavailableError("NetworkManager does not run on this box") from None
        raise NetworkUnavailableError(f"the network service refused: {error_name(error)}") from None
    finally:
        bus.close()
