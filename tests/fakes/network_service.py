"""A NetworkManager of our own on a bus of its own: Ethernet, Wi-Fi, a few networks, checkpoints that go back.

It answers as the D-Bus API describes, for what `relay.box.network_*` asks, with the types in
`tests.fakes.network_signatures`; anything else is an error. What needs a cable or a radio happens at once. The tests of
Ethernet in `tests/interop/test_network_settings.py` run against it and against a real one.
"""

import copy
import ipaddress
import os
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from jeepney import (  # type: ignore[import-untyped]
    HeaderFields,
    MessageType,
    message_bus,
    new_error,
    new_method_return,
)
from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

from tests.fakes.network_signatures import METHODS, PROPERTIES

NAME = "org.freedesktop.NetworkManager"
ROOT = "/org/freedesktop/NetworkManager"
TIME_NAME, TIME_ROOT = "org.freedesktop.timedate1", "/org/freedesktop/timedate1"
HOST_NAME, HOST_ROOT = "org.freedesktop.hostname1", "/org/freedesktop/hostname1"
ETHERNET, WIFI = f"{ROOT}/Devices/1", f"{ROOT}/Devices/2"
PSK, ENTERPRISE, SAE, OWE = 0x100, 0x200, 0x400, 0x800
NO_CABLE, DISCONNECTED, GETTING_ADDRESSES, CONNECTED = 20, 30, 70, 100
LEASE, LEASE_GATEWAY = "192.0.2.77/24", "192.0.2.1"

Profile = dict[str, dict[str, tuple[str, Any]]]


@dataclass
class Station:
    """One access point: what it is called, how strong it is, what it asks for."""

    ssid: bytes
    strength: int
    rsn: int = 0
    password: str = ""
    hidden: bool = False
    privacy: bool = False


HOME = Station(b"home", 80, PSK, "correct horse")
STATIONS = [HOME, Station(b"home", 30, PSK, "correct horse"), Station(b"caf\xc3\xa9", 50), Station(b"\xff\xfe", 90)]


@dataclass
class Saved:
    """One profile."""

    settings: Profile
    in_memory: bool


@dataclass
class Wire:
    """One interface: what is active on it and what it has now."""

    name: str
    kind: int
    state: int = DISCONNECTED
    active: str = "/"
    profile: str = ""
    addresses: dict[int, list[str]] = field(default_factory=dict)


class FakeNetworkService:
    """The service and its bus, for the length of a `with`.

    Attributes:
        stations: what is in reach.
        address: of the bus, as DBUS_SYSTEM_BUS_ADDRESS names it.
        joined: the network the box is in, None where it is in none.
        slow: whether joining never ends.
        taken: addresses that other machines have.
        leases: whether a DHCP server answers.
        stops_within_s: how long whoever follows the network takes to end.
    """

    def __init__(self, folder: Path, daemon: tuple[Path, str], *, wifi: bool = True) -> None:
        self.address = f"unix:path={folder / 'bus'}"
        self._program, self._libraries = daemon
        self.stations = STATIONS
        self.slow = False
        self.taken: set[str] = set()
        self.leases = False
        self.profiles: dict[str, Saved] = {}
        self.disk: dict[str, Profile] = {}
        self.checkpoints: dict[str, tuple[Any, int]] = {}
        self._due: dict[str, float] = {}
        self.hostname = "doorstep"
        self.device_name = ""
        self.wires = {ETHERNET: Wire("eth0", 1), **({WIFI: Wire("wlan0", 2)} if wifi else {})}
        self.wall_us = 0
        self.follows = True
        self.refuses_time = False
        # As systemd has it: SetNTP answers before whoever follows the network has ended.
        self.stops_within_s = 0.1
        self._stopped_at = 0.0
        self._scans = 0
        self._active: dict[str, tuple[int, str]] = {}
        self._made = 0
        self._stop = threading.Event()

    @property
    def joined(self) -> bytes | None:
        """The network the box is in."""
        wire = self.wires.get(WIFI)
        if wire is None or wire.state != CONNECTED:
            return None
        return bytes(self.profiles[wire.profile].settings["802-11-wireless"]["ssid"][1])

    @property
    def kept(self) -> list[Profile]:
        """What would be there after the next start."""
        return list(self.disk.values())

    def power_cut(self) -> None:
        """Start anew with what is on disk."""
        self.checkpoints.clear()
        self.profiles = {self._path("Settings"): Saved(copy.deepcopy(kept), False) for kept in self.disk.values()}
        for path, wire in self.wires.items():
            self._disconnect(wire)
            for profile, saved in self.profiles.items():
                if saved.settings["connection"].get("interface-name", ("s", ""))[1] == wire.name:
                    self._bring_up(path, profile)

    def __enter__(self) -> Self:
        options = ["--session", "--nofork", "--nopidfile", f"--address={self.address}", "--print-address"]
        environment = {**os.environ, **({"LD_LIBRARY_PATH": self._libraries} if self._libraries else {})}
        command = [str(self._program), *options]
        self._daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._daemon.stdout is not None
        assert self._daemon.stdout.readline(), "the bus did not start"
        self._bus = open_dbus_connection(self.address)
        for name in (NAME, HOST_NAME, TIME_NAME):
            unwrap_msg(self._bus.send_and_get_reply(message_bus.RequestName(name), timeout=5))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._bus.close()
        self._daemon.terminate()
        self._daemon.wait(10)
        assert self._daemon.stdout is not None
        self._daemon.stdout.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            for checkpoint, at in list(self._due.items()):
                if checkpoint in self.checkpoints and time.monotonic() >= at:
                    self._roll_back("", checkpoint)
            try:
                message = self._bus.receive(timeout=0.02)
            except TimeoutError:
                continue
            if message.header.message_type is not MessageType.method_call:
                continue
            fields = message.header.fields
            try:
                signature, body = self._answer(
                    fields[HeaderFields.path],
                    (fields.get(HeaderFields.interface, ""), fields[HeaderFields.member]),
                    fields.get(HeaderFields.signature, ""),
                    message.body,
                )
            except RefusedError as refused:
                self._bus.send(new_error(message, f"{NAME}.{refused.name}", "s", (refused.name,)))
            else:
                self._bus.send(new_method_return(message, signature or None, body))

    def _answer(
        self, path: str, member: tuple[str, str], given: str, body: tuple[Any, ...]
    ) -> tuple[str, tuple[Any, ...]]:
        if member == ("org.freedesktop.DBus.Properties", "Get"):
            values = self._properties(path, body[0])
            if body[1] not in values:
                raise RefusedError("UnknownProperty")
            return "v", ((PROPERTIES[body[0], body[1]], values[body[1]]),)
        if member == ("org.freedesktop.DBus.Properties", "GetAll"):
            shown = {key: (PROPERTIES[body[0], key], value) for key, value in self._properties(path, body[0]).items()}
            return "a{sv}", (shown,)
        if member not in METHODS or METHODS[member][0] != given:
            raise RefusedError("UnknownMethod")
        known: dict[str, Callable[..., tuple[Any, ...]]] = {
            "GetDevices": lambda _: (list(self.wires),),
            "RequestScan": self._scan,
            "GetAllAccessPoints": lambda _: (
                [self._point(number) for number, station in enumerate(self.stations) if not station.hidden],
            ),
            "ActivateConnection": self._activate,
            "AddAndActivateConnection2": self._add_and_activate,
            "CheckpointCreate": self._checkpoint,
            "CheckpointDestroy": self._destroy,
            "CheckpointRollback": self._roll_back,
            "CheckpointAdjustRollbackTimeout": self._adjust,
            "ListConnections": lambda _: (list(self.profiles),),
            "GetConnectionByUuid": lambda _, wanted: (self._by_uuid(wanted),),
            "AddConnection2": self._add,
            "GetSettings": lambda path: (_without_secrets(self._saved(path).settings),),
            "Update2": self._update,
            "Save": self._save,
            "Delete": self._delete,
            "SaveHostname": self._name,
            "SetPrettyHostname": self._pretty,
            "SetNTP": self._follow,
            "SetTime": self._set_time,
        }
        return METHODS[member][1], known[member[1]](path, *body)

    def _properties(self, path: str, interface: str) -> dict[str, Any]:
        match interface.rpartition(".")[2]:
            case "AccessPoint":
                return _shown_station(self.stations[int(path.rpartition("/")[2])])
            case "Active" if path in self._active:
                state, profile = self._active[path]
                return {"State": state, "Connection": profile}
            case "Device" if path in self.wires:
                return self._shown_wire(path)
            case "Wireless" if path == WIFI:
                return {"LastScan": self._scans}
            case "IP4Config" | "IP6Config" as kind:
                return self._shown_addresses(path, 4 if kind == "IP4Config" else 6)
        values: dict[tuple[str, str], dict[str, Any]] = {
            (ROOT, NAME): {"State": 70 if any(wire.addresses.get(4) for wire in self.wires.values()) else 20},
            (f"{ROOT}/Settings", f"{NAME}.Settings"): {"Hostname": self.hostname},
            (TIME_ROOT, TIME_NAME): {"NTP": self.follows},
            (HOST_ROOT, HOST_NAME): {"PrettyHostname": self.device_name},
        }
        if (path, interface) not in values:
            raise RefusedError("UnknownObject")
        return values[path, interface]

    def _shown_wire(self, path: str) -> dict[str, Any]:
        wire, number = self.wires[path], path.rpartition("/")[2]
        fitting = [profile for profile, saved in self.profiles.items() if self._fits(saved.settings, wire)]
        return {
            "Interface": wire.name,
            "DeviceType": wire.kind,
            "State": wire.state,
            "Managed": True,
            "ActiveConnection": wire.active,
            "Ip4Config": f"{ROOT}/IP4Config/{number}" if wire.active != "/" else "/",
            "Ip6Config": f"{ROOT}/IP6Config/{number}" if wire.active != "/" else "/",
            "AvailableConnections": fitting if wire.state != NO_CABLE else [],
        }

    def _fits(self, settings: Profile, wire: Wire) -> bool:
        kind = "802-11-wireless" if wire.kind == 2 else "802-3-ethernet"
        named = settings["connection"].get("interface-name", ("s", wire.name))[1]
        return bool(settings["connection"]["type"][1] == kind and named == wire.name)

    def _shown_addresses(self, path: str, version: int) -> dict[str, Any]:
        wire = self.wires[f"{ROOT}/Devices/{path.rpartition('/')[2]}"]
        section = self._saved(wire.profile).settings.get(f"ipv{version}", {})
        data = [address.split("/") for address in wire.addresses.get(version, [])]
        dns = section.get("dns-data", ("as", []))[1]
        leased = version == 4 and wire.addresses.get(4) == [LEASE]
        return {
            "AddressData": [{"address": ("s", address), "prefix": ("u", int(prefix))} for address, prefix in data],
            "Gateway": LEASE_GATEWAY if leased else section.get("gateway", ("s", ""))[1],
            **(
                {"NameserverData": [{"address": ("s", server)} for server in dns]}
                if version == 4
                else {"Nameservers": [ipaddress.ip_address(server).packed for server in dns]}
            ),
        }

    def _scan(self, _path: str, _options: dict[str, Any]) -> tuple[Any, ...]:
        self._scans += 1
        return ()

    def _point(self, number: int) -> str:
        return f"{ROOT}/AccessPoint/{number}"

    def _path(self, kind: str) -> str:
        self._made += 1
        return f"{ROOT}/{kind}/{self._made}"

    def _saved(self, path: str) -> Saved:
        if path not in self.profiles:
            raise RefusedError("UnknownObject")
        return self.profiles[path]

    def _by_uuid(self, wanted: str) -> str:
        for path, saved in self.profiles.items():
            if saved.settings["connection"]["uuid"][1] == wanted:
                return path
        raise RefusedError("Settings.InvalidConnection")

    def _add(self, _path: str, settings: Profile, flags: int, _options: dict[str, Any]) -> tuple[Any, ...]:
        _refuse_wrong(settings)
        settings["connection"].setdefault("uuid", ("s", str(uuid.uuid4())))
        path = self._path("Settings")
        self.profiles[path] = Saved(settings, in_memory=True)
        if flags == 1:
            self._save(path)
        return path, {}

    def _update(self, path: str, settings: Profile, flags: int, _options: dict[str, Any]) -> tuple[Any, ...]:
        _refuse_wrong(settings)
        security = "802-11-wireless-security"
        if security in settings and "psk" not in settings[security]:
            # An update without any secret keeps those that there are.
            settings[security]["psk"] = self._saved(path).settings[security]["psk"]
        self._saved(path).settings = settings
        self._saved(path).in_memory = True
        if flags == 1:
            self._save(path)
        return ({},)

    def _save(self, path: str) -> tuple[Any, ...]:
        saved = self._saved(path)
        saved.in_memory = False
        self.disk[saved.settings["connection"]["uuid"][1]] = copy.deepcopy(saved.settings)
        return ()

    def _delete(self, path: str) -> tuple[Any, ...]:
        saved = self._saved(path)
        self.disk.pop(saved.settings["connection"]["uuid"][1], None)
        for wire in self.wires.values():
            if wire.profile == path:
                self._disconnect(wire)
        del self.profiles[path]
        return ()

    def _disconnect(self, wire: Wire) -> None:
        wire.active, wire.profile, wire.addresses = "/", "", {}
        wire.state = min(wire.state, DISCONNECTED)

    def _activate(self, _path: str, profile: str, device: str, _specific: str) -> tuple[Any, ...]:
        self._saved(profile)
        if self.wires[device].state == NO_CABLE:
            raise RefusedError("UnknownConnection")
        return (self._bring_up(device, profile),)

    def _add_and_activate(
        self, _path: str, settings: Profile, device: str, _specific: str, options: dict[str, Any]
    ) -> tuple[Any, ...]:
        assert device == WIFI
        profile, _ = self._add("", settings, 2 if options.get("persist") == ("s", "memory") else 1, {})
        return profile, self._bring_up(device, profile), {}

    def _bring_up(self, device: str, profile: str) -> str:
        wire, settings = self.wires[device], self.profiles[profile].settings
        active = self._path("ActiveConnection")
        if wire.state == NO_CABLE:
            return active
        wire.active, wire.profile, wire.addresses = active, profile, {}
        refused = wire.kind == 2 and not self._lets_in(settings)
        if refused and not self.slow:
            self._disconnect(wire)
            self._active[active] = 4, profile
            return active
        for version in (4, 6):
            wire.addresses[version] = self._got(settings.get(f"ipv{version}", {}), version, wire)
        complete = bool(wire.addresses[4] or wire.addresses[6]) and not self.slow
        wire.state = CONNECTED if complete else GETTING_ADDRESSES
        self._active[active] = 2 if complete else 1, profile
        return active

    def _got(self, section: dict[str, tuple[str, Any]], version: int, wire: Wire) -> list[str]:
        method = section.get("method", ("s", "auto"))[1]
        if method == "manual":
            data = section["address-data"][1]
            return [f"{one['address'][1]}/{one['prefix'][1]}" for one in data if one["address"][1] not in self.taken]
        if method == "auto" and version == 4 and (self.leases or wire.kind == 2):
            return [LEASE] if wire.kind == 1 else ["192.0.2.7/24"]
        return []

    def _lets_in(self, settings: Profile) -> bool:
        ssid = bytes(settings["802-11-wireless"]["ssid"][1])
        psk = settings.get("802-11-wireless-security", {}).get("psk", ("s", ""))[1]
        looks = settings["802-11-wireless"].get("hidden", ("b", False))[1]
        return any(
            station.ssid == ssid and station.password == psk and (looks or not station.hidden)
            for station in self.stations
        )

    def _checkpoint(self, _path: str, devices: list[str], timeout_s: int, _flags: int) -> tuple[Any, ...]:
        assert set(devices) <= set(self.wires)
        if self.checkpoints:
            raise RefusedError("InvalidArguments")
        path = self._path("Checkpoint")
        self.checkpoints[path] = copy.deepcopy((self.profiles, self.wires, self._active, self.disk)), timeout_s
        self._adjust("", path, timeout_s)
        return (path,)

    def _adjust(self, _path: str, checkpoint: str, timeout_s: int) -> tuple[Any, ...]:
        self._known_checkpoint(checkpoint)
        self._due[checkpoint] = time.monotonic() + timeout_s
        return ()

    def _known_checkpoint(self, checkpoint: str) -> None:
        if checkpoint not in self.checkpoints:
            raise RefusedError("InvalidArguments")

    def _destroy(self, _path: str, checkpoint: str) -> tuple[Any, ...]:
        self._known_checkpoint(checkpoint)
        del self.checkpoints[checkpoint]
        return ()

    def _roll_back(self, _path: str, checkpoint: str) -> tuple[Any, ...]:
        self._known_checkpoint(checkpoint)
        (self.profiles, self.wires, self._active, self.disk), _ = self.checkpoints.pop(checkpoint)
        return (dict.fromkeys(self.wires, 0),)

    def _pretty(self, _path: str, name: str, _interactive: bool) -> tuple[Any, ...]:
        self.device_name = name
        return ()

    def _follow(self, _path: str, follows: bool, _interactive: bool) -> tuple[Any, ...]:
        if self.follows and not follows:
            self._stopped_at = time.monotonic() + self.stops_within_s
        self.follows = follows
        return ()

    def _set_time(self, _path: str, wall_us: int, relative: bool, _interactive: bool) -> tuple[Any, ...]:
        if self.refuses_time:
            raise RefusedError("AccessDenied")
        if self.follows or time.monotonic() < self._stopped_at:
            raise RefusedError("AutomaticTimeSyncEnabled")
        assert not relative
        self.wall_us = wall_us
        return ()

    def _name(self, _path: str, name: str) -> tuple[Any, ...]:
        if name and not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", name):
            raise RefusedError("Settings.InvalidHostname")
        self.hostname = name
        return ()


def _shown_station(station: Station) -> dict[str, Any]:
    return {
        "Ssid": station.ssid,
        "Strength": station.strength,
        "Flags": int(bool(station.rsn) or station.privacy),
        "WpaFlags": 0,
        "RsnFlags": station.rsn,
    }


def _without_secrets(settings: Profile) -> Profile:
    return {name: {key: value for key, value in section.items() if key != "psk"} for name, section in settings.items()}


def _refuse_wrong(settings: Profile) -> None:
    psk = settings.get("802-11-wireless-security", {}).get("psk", ("s", ""))[1]
    if psk and len(psk) < 8:
        raise RefusedError("Settings.Connection.InvalidProperty")
    for name in ("ipv4", "ipv6"):
        section = settings.get(name, {})
        addresses = section.get("address-data", ("", []))[1]
        if (section.get("method") == ("s", "manual") or "gateway" in section) and not addresses:
            raise RefusedError("Settings.Connection.InvalidProperty")


class RefusedError(Exception):
    """The service says no."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
