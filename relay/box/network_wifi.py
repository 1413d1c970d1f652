"""Wi-Fi: which networks there are, join one, and go back by itself when that fails; forget one.

Source: NetworkManager D-Bus API, interfaces .Device.Wireless and .AccessPoint, AddAndActivateConnection2;
NM80211ApFlags and NM80211ApSecurityFlags of nm-dbus-types; nm-settings-dbus(5), "802-11-wireless-security setting".
"""

import time
from dataclasses import dataclass
from typing import Any

from jeepney import DBusErrorResponse  # type: ignore[import-untyped]

from relay.base.errors import Fault, NotFoundError, RelayError
from relay.box.network_addressing import Addressing
from relay.box.network_bus import (
    CONNECTION,
    NAME,
    NOTHING,
    ROOT,
    WIRELESS,
    NetworkBus,
    NetworkUnavailableError,
)
from relay.box.network_changes import ACTIVATED, DEACTIVATED, Changes, WayBack
from relay.box.network_links import WIFI, Device, Known, Links
from relay.box.system_bus import error_name

_PRIVACY = 0x1
_PSK, _ENTERPRISE, _SAE, _OWE = 0x100, 0x200 | 0x2000, 0x400, 0x800
_ACCESS_POINT = f"{NAME}.AccessPoint"
_SCAN_WAIT_S = 8.0
_JOIN_S = 25.0


class JoinFailedError(RelayError):
    """The network could not be joined; what was there before is back."""

    code = "network.join_failed"
    fault = Fault.USER
    retryable = True


class NotJoinableError(RelayError):
    """The network asks for what this box does not do."""

    code = "network.not_joinable"
    fault = Fault.USER


@dataclass(frozen=True, slots=True)
class WifiNetwork:
    """One network, however many stations carry it: the strongest counts.

    Attributes:
        ssid: its name.
        signal_dbm: how strong it is.
        secured: whether it asks for anything.
        enterprise: whether it asks for a user's name, which the box has none to give for.
    """

    ssid: str
    signal_dbm: int
    secured: bool
    enterprise: bool = False


@dataclass(frozen=True, slots=True)
class _Station:
    """One access point."""

    ssid: bytes
    strength: int
    privacy: bool
    security: int

    @property
    def enterprise(self) -> bool:
        return bool(self.security & _ENTERPRISE) and not self.security & (_PSK | _SAE)


@dataclass(frozen=True, slots=True)
class Joined:
    """A network that was joined and is not kept yet."""

    checkpoint: str
    way_back: WayBack


class Wifi:
    """The first Wi-Fi interface of this machine."""

    def __init__(self, bus: NetworkBus) -> None:
        self._bus = bus
        self._links = Links(bus)
        self._changes = Changes(bus)

    def scan(self) -> list[WifiNetwork]:
        """Return the networks in reach, the strongest first, after a fresh look around.

        Raises:
            NetworkUnavailableError: there is no Wi-Fi here.
        """
        found: dict[str, WifiNetwork] = {}
        for station in self._look_around(self._device()):
            try:
                ssid = station.ssid.decode()
            except UnicodeDecodeError:
                # A name that is no text cannot be typed either.
                continue
            known = found.get(ssid)
            # The service tells percent, made from dBm as 2 * (dBm + 100).
            signal_dbm = station.strength // 2 - 100
            if ssid and (known is None or known.signal_dbm < signal_dbm):
                secured = station.privacy or bool(station.security)
                found[ssid] = WifiNetwork(ssid, signal_dbm, secured, station.enterprise)
        return sorted(found.values(), key=lambda network: (-network.signal_dbm, network.ssid))

    def join(self, ssid: str, password: str, *, within_s: float = _JOIN_S) -> None:
        """Join a network and keep it for later starts; on failure everything is as it was.

        Raises:
            JoinFailedError, NotJoinableError, NetworkUnavailableError, ConflictError: as `try_network`.
        """
        joined = self.try_network(ssid, password, 0.0, within_s=within_s)
        if not self._changes.keep(joined.checkpoint, [joined.way_back.profile]):
            raise JoinFailedError("the network service went back by itself")
        for older in self._named(ssid):
            if older.uuid != joined.way_back.profile:
                self._bus.call(older.path, CONNECTION, "Delete")

    def try_network(self, ssid: str, password: str, confirm_s: float, *, within_s: float = _JOIN_S) -> Joined:
        """Join a network, in memory; the service goes back by itself if nobody keeps it for so many seconds.

        One that is not in reach is looked for as one that hides its name.

        Raises:
            JoinFailedError: the password is wrong, or the network gone or too slow.
            NotJoinableError: it asks for what the box does not do.
            NetworkUnavailableError: there is no Wi-Fi here.
            ConflictError: somebody else is changing the network.
        """
        device, begun_at = self._device(), time.monotonic()
        stations = self._stations(device, ssid) or self._stations(device, ssid, afresh=True)
        settings = _profile(ssid, password, stations)
        within_s = max(0.0, within_s - (time.monotonic() - begun_at))
        # If this process dies in the middle, or the cable with it, the service goes back by itself.
        checkpoint = self._changes.begin([device], within_s + 10 + confirm_s)
        with self._changes.guarded(checkpoint):
            profile = self._activate(device, settings, within_s, hidden=not stations)
        return Joined(checkpoint, WayBack(device.name, profile.uuid, True, Addressing()))  # noqa: FBT003 - a field

    def _activate(self, device: Device, settings: dict[str, Any], within_s: float, *, hidden: bool) -> Known:
        # In memory until it is known to work: a power cut leaves nothing of it.
        arguments = (settings, device.path, NOTHING, {"persist": ("s", "memory")})
        try:
            path, active, _ = self._bus.call(ROOT, NAME, "AddAndActivateConnection2", "a{sa{sv}}ooa{sv}", arguments)
        except DBusErrorResponse as error:
            raise JoinFailedError(f"the network service refused: {error_name(error)}") from None
        where = "no such network is in reach, and none that hides its name answered" if hidden else ""
        if not self._bus.wait(lambda: self._changes.active_state(active) in (ACTIVATED, DEACTIVATED), within_s):
            raise JoinFailedError(where or "the network did not answer in time")
        known = self._links.known(path)
        if self._changes.active_state(active) != ACTIVATED or known is None:
            raise JoinFailedError(where or "the network could not be joined: is the password right?")
        return known

    def forget(self, ssid: str) -> None:
        """Forget a network and its password; the box leaves it if it is in it.

        Raises:
            NotFoundError: it is not known.
        """
        found = self._named(ssid)
        if not found:
            names = sorted({known.name for known in self._all()})
            raise NotFoundError(f"this box knows no network of that name; it knows: {', '.join(names) or 'none'}")
        for known in found:
            self._bus.call(known.path, CONNECTION, "Delete")

    def _named(self, ssid: str) -> list[Known]:
        wanted = ssid.encode()
        return [known for known in self._all() if bytes(known.profile["802-11-wireless"]["ssid"][1]) == wanted]

    def _all(self) -> list[Known]:
        return [known for known in self._links.all_known() if "ssid" in known.profile.get("802-11-wireless", {})]

    def _device(self) -> Device:
        for device in self._links.devices():
            if device.kind == WIFI and device.managed:
                return device
        raise NetworkUnavailableError("this box has no Wi-Fi, or the network service does not look after it")

    def _look_around(self, device: Device) -> list[_Station]:
        before = self._bus.get(device.path, WIRELESS, "LastScan")
        try:
            self._bus.call(device.path, WIRELESS, "RequestScan", "a{sv}", ({},))
            self._bus.wait(lambda: self._bus.get(device.path, WIRELESS, "LastScan") != before, _SCAN_WAIT_S)
        except DBusErrorResponse:
            # Refused right after another scan: what that one found is fresh enough.
            pass
        return self._all_stations(device)

    def _stations(self, device: Device, ssid: str, *, afresh: bool = False) -> list[_Station]:
        stations = self._look_around(device) if afresh else self._all_stations(device)
        return [station for station in stations if station.ssid == ssid.encode()]

    def _all_stations(self, device: Device) -> list[_Station]:
        (points,) = self._bus.call(device.path, WIRELESS, "GetAllAccessPoints")
        return list(filter(None, map(self._station, points)))

    def _station(self, point: str) -> _Station | None:
        try:
            found = self._bus.all_of(point, _ACCESS_POINT)
        except DBusErrorResponse:
            # A station may be gone by the time it is asked.
            return None
        security = found["RsnFlags"] | found["WpaFlags"]
        return _Station(bytes(found["Ssid"]), found["Strength"], bool(found["Flags"] & _PRIVACY), security)


def _profile(ssid: str, password: str, stations: list[_Station]) -> dict[str, Any]:
    if stations and all(station.enterprise for station in stations):
        raise NotJoinableError(
            "this network asks each user for a name (WPA-Enterprise), which this box does not do: "
            "take one that has a password only, or a cable"
        )
    if stations and all(station.privacy and not station.security for station in stations):
        raise NotJoinableError(
            "this network uses WEP, which protects nothing any more: let its router use WPA2 or WPA3"
        )
    security = 0
    for station in stations:
        security |= station.security
    settings: dict[str, Any] = {
        "connection": {"id": ("s", ssid), "type": ("s", "802-11-wireless"), "autoconnect": ("b", True)},
        "802-11-wireless": {"ssid": ("ay", ssid.encode()), "mode": ("s", "infrastructure")},
    }
    if not stations:
        settings["802-11-wireless"]["hidden"] = ("b", True)
    if password:
        key_management = "sae" if security & _SAE and not security & _PSK else "wpa-psk"
        settings["802-11-wireless-security"] = {"key-mgmt": ("s", key_management), "psk": ("s", password)}
    elif security & _OWE:
        settings["802-11-wireless-security"] = {"key-mgmt": ("s", "owe")}
    return settings
