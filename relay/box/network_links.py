"""The interfaces that NetworkManager looks after: how they are now, and how they are set.

Source: NetworkManager D-Bus API, interfaces .Device, .IP4Config, .IP6Config, .Connection.Active and
.Settings.Connection; NMDeviceType and NMDeviceState of nm-dbus-types.
"""

import dataclasses
import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from jeepney import DBusErrorResponse  # type: ignore[import-untyped]

from relay.base.errors import ConfigError
from relay.box.network_addressing import Addressing, Profile, is_fixed
from relay.box.network_bus import ACTIVE, CONNECTION, DEVICE, NAME, NOTHING, ROOT, SETTINGS, SETTINGS_ROOT, NetworkBus

ETHERNET, WIFI = "ethernet", "wifi"
_VIRTUAL_PAIR = 20
_KINDS = {1: ETHERNET, 2: WIFI, _VIRTUAL_PAIR: ETHERNET}
WITHOUT_CABLE, DISCONNECTED, CONNECTED = 20, 30, 100
_WORDS = {10: "not looked after", WITHOUT_CABLE: "unavailable", DISCONNECTED: "disconnected", CONNECTED: "connected"}
_GOING, _FAILED = 110, 120


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """One interface, as the service has it.

    Attributes:
        path: the service's name of it.
        name: the kernel's.
        kind: `ethernet` or `wifi`.
        state: NMDeviceState.
        managed: whether the service looks after it.
        active: what is active on it, "/" where nothing is.
        configs: the places of its IPv4 and IPv6 configuration, "/" where there is none.
        available: the profiles that could be used on it.
    """

    path: str
    name: str
    kind: str
    state: int
    managed: bool
    active: str
    configs: tuple[str, str]
    available: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class InUse:
    """The addresses of one kind that an interface has now."""

    addresses: tuple[str, ...] = ()
    gateway: str = ""
    dns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """One profile: where it is, what it says, and the name that lasts."""

    path: str
    uuid: str
    profile: Profile

    @property
    def addressing(self) -> Addressing:
        """How it wants addresses to be got."""
        return Addressing.read(self.profile)

    @property
    def name(self) -> str:
        """Its name for people: that of the Wi-Fi network, or the service's."""
        ssid = self.profile.get("802-11-wireless", {}).get("ssid")
        return bytes(ssid[1]).decode("utf-8", "replace") if ssid else str(self.profile["connection"]["id"][1])


class Links:
    """What there is, asked afresh each time."""

    def __init__(self, bus: NetworkBus) -> None:
        self._bus = bus

    def devices(self) -> Iterator[Device]:
        """Return the Ethernet and Wi-Fi interfaces of this machine, also those that somebody else looks after."""
        (paths,) = self._bus.call(ROOT, NAME, "GetDevices")
        for path in paths:
            try:
                found = self._bus.all_of(path, DEVICE)
            except DBusErrorResponse:
                # It may be unplugged by the time it is asked.
                continue
            # A virtual pair that nobody put into its care is a container's.
            if found["DeviceType"] in _KINDS and (found["Managed"] or found["DeviceType"] != _VIRTUAL_PAIR):
                yield _device(path, found)

    def device(self, name: str) -> Device:
        """Return the interface called `name`.

        Raises:
            ConfigError: there is none, or the service does not look after it.
        """
        devices = list(self.devices())
        for device in devices:
            if device.name == name and device.managed:
                return device
            if device.name == name:
                raise ConfigError(
                    f"NetworkManager does not look after {name}: ifupdown or systemd-networkd may have it"
                )
        there = ", ".join(device.name for device in devices if device.managed) or "none that NetworkManager looks after"
        raise ConfigError(f"there is no interface {name}; there is: {there}")

    def in_use(self, device: Device) -> tuple[InUse, InUse]:
        """Return the addresses that it has now, IPv4 and IPv6."""
        ipv4, ipv6 = device.configs
        return self._in_use(ipv4, "IP4Config"), self._in_use(ipv6, "IP6Config")

    def profile_of(self, device: Device) -> Known | None:
        """Return the profile that is active on the interface, or for Ethernet the first that could be; None: none."""
        if device.active != NOTHING:
            # It may be over by the time it is asked.
            with suppress(DBusErrorResponse):
                return self.known(self._bus.get(device.active, ACTIVE, "Connection"))
        if device.kind == WIFI:
            # Of the networks that it knows nobody said which one is meant.
            return None
        return self.known(device.available[0]) if device.available else self._waiting(device)

    def _waiting(self, device: Device) -> Known | None:
        # Without its cable an interface tells of no profile, though there may be one that names it.
        for found in self.all_known():
            connection = found.profile["connection"]
            is_ethernet = connection["type"][1] == "802-3-ethernet"
            if is_ethernet and connection.get("interface-name", ("s", ""))[1] == device.name:
                return found
        return None

    def all_known(self) -> Iterator[Known]:
        """Return every profile that there is."""
        (paths,) = self._bus.call(SETTINGS_ROOT, SETTINGS, "ListConnections")
        return filter(None, map(self.known, paths))

    def known(self, path: str) -> Known | None:
        """Return the profile at `path`; None where it is gone."""
        try:
            (profile,) = self._bus.call(path, CONNECTION, "GetSettings")
        except DBusErrorResponse:
            return None
        return Known(path, profile["connection"]["uuid"][1], profile)

    def by_uuid(self, uuid: str) -> Known | None:
        """Return the profile with this name that lasts; None where it is gone."""
        try:
            (path,) = self._bus.call(SETTINGS_ROOT, SETTINGS, "GetConnectionByUuid", "s", (uuid,))
        except DBusErrorResponse:
            return None
        return self.known(path)

    def all_addressing(self) -> dict[str, Addressing]:
        """Return how each interface that is looked after is set; one that was never set is left out."""
        found = {}
        for device in self.devices():
            known = self.profile_of(device) if device.managed else None
            if known is not None:
                found[device.name] = known.addressing
        return found

    def described(self) -> list[dict[str, Any]]:
        """Return every interface in plain words and numbers, for people and programs."""
        return [self._described(device) for device in self.devices()]

    def _described(self, device: Device) -> dict[str, Any]:
        known = self.profile_of(device) if device.managed else None
        wanted = known.addressing if known else None
        found: dict[str, Any] = {
            "name": device.name,
            "kind": device.kind,
            "state": _state_word(device),
            "profile": known.name if known else "",
        }
        for key, setting, in_use in zip(("ipv4", "ipv6"), ("address", "address6"), self.in_use(device), strict=True):
            how = getattr(wanted, setting) if wanted else ""
            found[key] = {
                "how": "fixed" if is_fixed(how) else how,
                "addresses": list(in_use.addresses),
                "gateway": in_use.gateway,
                "dns": list(in_use.dns),
            }
        return found

    def _in_use(self, path: str, interface: str) -> InUse:
        if path == NOTHING:
            return InUse()
        try:
            found = self._bus.all_of(path, f"{NAME}.{interface}")
        except DBusErrorResponse:
            return InUse()
        addresses = [f"{one['address'][1]}/{one['prefix'][1]}" for one in found["AddressData"]]
        servers = found.get("NameserverData")
        dns = (
            [one["address"][1] for one in servers]
            if servers is not None
            else [str(ipaddress.ip_address(bytes(one))) for one in found["Nameservers"]]
        )
        return InUse(tuple(addresses), found["Gateway"], tuple(dns))


def _device(path: str, found: dict[str, Any]) -> Device:
    return Device(
        path=path,
        name=found["Interface"],
        kind=_KINDS[found["DeviceType"]],
        state=found["State"],
        managed=found["Managed"],
        active=found["ActiveConnection"],
        configs=(found["Ip4Config"], found["Ip6Config"]),
        available=tuple(found["AvailableConnections"]),
    )


def _state_word(device: Device) -> str:
    if device.state == WITHOUT_CABLE and device.kind == ETHERNET:
        return "no cable"
    if DISCONNECTED < device.state < CONNECTED:
        return "connecting"
    return {**_WORDS, _GOING: "disconnecting", _FAILED: "failed"}.get(device.state, "unknown")
