"""NetworkManager over D-Bus: which networks there are, join one, and go back by itself when that fails.

Blocking, for a process that ends with its request. Source: NetworkManager D-Bus API, interfaces
org.freedesktop.NetworkManager, .Device, .Device.Wireless, .AccessPoint, .Connection.Active, .Settings and .IP4Config.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, Properties, new_method_call  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

from relay.base.errors import Fault, RelayError

_NAME = "org.freedesktop.NetworkManager"
_ROOT = "/org/freedesktop/NetworkManager"
_HOST_NAME = "org.freedesktop.hostname1"
_HOST_ROOT = "/org/freedesktop/hostname1"
_ETHERNET, _WIFI = 1, 2
_ACTIVATED, _DEACTIVATED = 2, 4
_ONLINE_STATES = (60, 70)  # connected to a site, connected to the world
_PRIVACY, _KEY_MGMT_SAE, _KEY_MGMT_PSK = 0x1, 0x400, 0x100
_DELETE_NEW_CONNECTIONS = 0x02
_NOTHING = "/"
_CALL_TIMEOUT_S = 15.0
_SCAN_WAIT_S = 8.0
_LOOK_EVERY_S = 0.25


class NetworkUnavailableError(RelayError):
    """NetworkManager does not run here, or has no device of this kind."""

    code = "network.unavailable"
    fault = Fault.BOX


class JoinFailedError(RelayError):
    """The network could not be joined; what was there before is back."""

    code = "network.join_failed"
    fault = Fault.USER
    retryable = True


@dataclass(frozen=True, slots=True)
class WifiNetwork:
    """One network, however many stations carry it: the strongest counts."""

    ssid: str
    signal_dbm: int
    secured: bool


@dataclass(frozen=True, slots=True)
class NetworkState:
    """Whether the box is online, by what it could be, and where it is reached."""

    online: bool
    wifi: bool
    ethernet: bool
    addresses: tuple[str, ...]
    hostname: str


class NetworkService:
    """One connection to the network service; open it with `with open_network_service(...)`."""

    def __init__(self, bus: DBusConnection) -> None:
        self._bus = bus

    def state(self) -> NetworkState:
        """Return how the box is connected now."""
        devices = list(self._devices())
        kinds = {kind for _, kind in devices}
        addresses = [address for path, _ in devices for address in self._addresses(path)]
        return NetworkState(
            online=self._get(_ROOT, _NAME, "State") in _ONLINE_STATES,
            wifi=_WIFI in kinds,
            ethernet=_ETHERNET in kinds,
            addresses=tuple(addresses),
            hostname=str(self._get(f"{_ROOT}/Settings", f"{_NAME}.Settings", "Hostname")),
        )

    def scan(self) -> list[WifiNetwork]:
        """Return the networks in reach, the strongest first, after a fresh look around.

        Raises:
            NetworkUnavailableError: there is no Wi-Fi here.
        """
        device, wireless = self._wifi(), f"{_NAME}.Device.Wireless"
        before = self._get(device, wireless, "LastScan")
        try:
            self._call(device, wireless, "RequestScan", "a{sv}", ({},))
            self._wait(lambda: self._get(device, wireless, "LastScan") != before, _SCAN_WAIT_S)
        except DBusErrorResponse:
            # Refused right after another scan: what that one found is fresh enough.
            pass
        (points,) = self._call(device, wireless, "GetAllAccessPoints")
        found: dict[str, WifiNetwork] = {}
        for network in filter(None, map(self._network, points)):
            known = found.get(network.ssid)
            if known is None or known.signal_dbm < network.signal_dbm:
                found[network.ssid] = network
        return sorted(found.values(), key=lambda network: (-network.signal_dbm, network.ssid))

    def join(self, ssid: str, password: str, *, within_s: float = 25.0) -> None:
        """Join a network and keep it for later starts; on failure everything is as it was.

        A checkpoint goes back by itself if this process dies in the middle, or the cable with it.

        Raises:
            JoinFailedError: the password is wrong, or the network gone or too slow.
            NetworkUnavailableError: there is no Wi-Fi here.
        """
        device = self._wifi()
        settings = _wifi_settings(ssid, password, sae_only=self._is_sae_only(device, ssid))
        with self._checkpoint(device, within_s):
            try:
                _, active, _ = self._call(
                    _ROOT, _NAME, "AddAndActivateConnection2", "a{sa{sv}}ooa{sv}", (settings, device, _NOTHING, {})
                )
            except DBusErrorResponse as error:
                raise JoinFailedError(f"the network service refused: {_reason(error)}") from None
            if not self._wait(lambda: self._is_settled(active), within_s):
                raise JoinFailedError("the network did not answer in time")
            if not self._is_active(active):
                raise JoinFailedError("the network could not be joined: is the password right?")

    def set_hostname(self, name: str) -> None:
        """Give the box another host name, kept for later starts."""
        self._call(f"{_ROOT}/Settings", f"{_NAME}.Settings", "SaveHostname", "s", (name,))

    def device_name(self) -> str:
        """Return the name of the box for people, empty where it was given none."""
        return str(self._get(_HOST_ROOT, _HOST_NAME, "PrettyHostname", name=_HOST_NAME))

    def set_device_name(self, text: str) -> None:
        """Give the box a name for people (org.freedesktop.hostname1)."""
        self._call(_HOST_ROOT, _HOST_NAME, "SetPrettyHostname", "sb", (text, False), name=_HOST_NAME)

    @contextmanager
    def _checkpoint(self, device: str, within_s: float) -> Iterator[None]:
        rollback_s = int(within_s) + 10
        arguments = ([device], rollback_s, _DELETE_NEW_CONNECTIONS)
        (checkpoint,) = self._call(_ROOT, _NAME, "CheckpointCreate", "aouu", arguments)
        try:
            yield
        except BaseException:
            self._call(_ROOT, _NAME, "CheckpointRollback", "o", (checkpoint,))
            raise
        self._call(_ROOT, _NAME, "CheckpointDestroy", "o", (checkpoint,))

    def _devices(self) -> Iterator[tuple[str, int]]:
        (paths,) = self._call(_ROOT, _NAME, "GetDevices")
        for path in paths:
            yield path, self._get(path, f"{_NAME}.Device", "DeviceType")

    def _wifi(self) -> str:
        for path, kind in self._devices():
            if kind == _WIFI:
                return path
        raise NetworkUnavailableError("this box has no Wi-Fi, or the network service does not look after it")

    def _addresses(self, device: str) -> list[str]:
        config = self._get(device, f"{_NAME}.Device", "Ip4Config")
        if config == _NOTHING:
            return []
        data = self._get(config, f"{_NAME}.IP4Config", "AddressData")
        return [entry["address"][1] for entry in data if not entry["address"][1].startswith("127.")]

    def _network(self, point: str) -> WifiNetwork | None:
        access = f"{_NAME}.AccessPoint"
        try:
            ssid = bytes(self._get(point, access, "Ssid")).decode()
            strength = self._get(point, access, "Strength")
            protected = [self._get(point, access, name) for name in ("WpaFlags", "RsnFlags")]
            privacy = self._get(point, access, "Flags") & _PRIVACY
        except (UnicodeDecodeError, DBusErrorResponse):
            # A name that is no text cannot be typed either; a station may be gone by the time it is asked.
            return None
        # The service tells percent, made from dBm as 2 * (dBm + 100).
        return WifiNetwork(ssid, strength // 2 - 100, bool(privacy or any(protected))) if ssid else None

    def _is_sae_only(self, device: str, ssid: str) -> bool:
        (points,) = self._call(device, f"{_NAME}.Device.Wireless", "GetAllAccessPoints")
        access = f"{_NAME}.AccessPoint"
        flags = [
            self._get(point, access, "RsnFlags") | self._get(point, access, "WpaFlags")
            for point in points
            if bytes(self._get(point, access, "Ssid")) == ssid.encode()
        ]
        return any(flag & _KEY_MGMT_SAE for flag in flags) and not any(flag & _KEY_MGMT_PSK for flag in flags)

    def _is_settled(self, active: str) -> bool:
        return self._active_state(active) in (_ACTIVATED, _DEACTIVATED)

    def _is_active(self, active: str) -> bool:
        return self._active_state(active) == _ACTIVATED

    def _active_state(self, active: str) -> int:
        try:
            return int(self._get(active, f"{_NAME}.Connection.Active", "State"))
        except DBusErrorResponse:
            # An attempt that failed is taken away with its object.
            return _DEACTIVATED

    def _wait(self, happened: Any, within_s: float) -> bool:  # noqa: ANN401 - a question without arguments
        deadline = time.monotonic() + within_s
        while not happened():
            if time.monotonic() >= deadline:
                return False
            # Signals would need a match rule and a loop for the sake of a few looks.
            threading.Event().wait(_LOOK_EVERY_S)
        return True

    def _call(
        self,
        path: str,
        interface: str,
        method: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        *,
        name: str = _NAME,
    ) -> Any:  # noqa: ANN401 - as D-Bus has it
        address = DBusAddress(path, bus_name=name, interface=interface)
        message = new_method_call(address, method, signature or None, body)
        try:
            return unwrap_msg(self._bus.send_and_get_reply(message, timeout=_CALL_TIMEOUT_S))
        except (TimeoutError, OSError):
            raise NetworkUnavailableError("the network service does not answer") from None

    def _get(self, path: str, interface: str, key: str, *, name: str = _NAME) -> Any:  # noqa: ANN401 - as D-Bus has it
        message = Properties(DBusAddress(path, bus_name=name, interface=interface)).get(key)
        try:
            ((_, value),) = unwrap_msg(self._bus.send_and_get_reply(message, timeout=_CALL_TIMEOUT_S))
        except (TimeoutError, OSError):
            raise NetworkUnavailableError("the network service does not answer") from None
        return value


@contextmanager
def open_network_service(environment: Mapping[str, str] = os.environ) -> Iterator[NetworkService]:
    """Connect to the network service of this machine, on the bus that DBUS_SYSTEM_BUS_ADDRESS names, if it names one.

    Raises:
        NetworkUnavailableError: there is no bus, or nobody on it looks after networks.
    """
    try:
        bus = open_dbus_connection(environment.get("DBUS_SYSTEM_BUS_ADDRESS") or "SYSTEM")
    except (OSError, ValueError, RuntimeError):
        raise NetworkUnavailableError(
            "there is no system bus here: the network cannot be set up from this box"
        ) from None
    try:
        yield NetworkService(bus)
    except DBusErrorResponse as error:
        if error.name in ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"):
            raise NetworkUnavailableError("NetworkManager does not run on this box") from None
        raise NetworkUnavailableError(f"the network service refused: {_reason(error)}") from None
    finally:
        bus.close()


def _wifi_settings(ssid: str, password: str, *, sae_only: bool) -> dict[str, dict[str, tuple[str, Any]]]:
    settings: dict[str, dict[str, tuple[str, Any]]] = {
        "connection": {"id": ("s", ssid), "type": ("s", "802-11-wireless"), "autoconnect": ("b", True)},
        "802-11-wireless": {"ssid": ("ay", ssid.encode()), "mode": ("s", "infrastructure")},
    }
    if password:
        key_management = "sae" if sae_only else "wpa-psk"
        settings["802-11-wireless-security"] = {"key-mgmt": ("s", key_management), "psk": ("s", password)}
    return settings


def _reason(error: DBusErrorResponse) -> str:
    # The text may quote what was sent; the name of the error does not.
    return str(error.name).rpartition(".")[2]
