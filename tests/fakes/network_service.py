"""A NetworkManager of our own on a bus of its own: two devices, a few networks, checkpoints that go back.

It answers as the D-Bus API describes, for what `relay.box.network_service` asks; anything else is an error.
"""

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
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

NAME = "org.freedesktop.NetworkManager"
ROOT = "/org/freedesktop/NetworkManager"
TIME_NAME, TIME_ROOT = "org.freedesktop.timedate1", "/org/freedesktop/timedate1"
HOST_NAME, HOST_ROOT = "org.freedesktop.hostname1", "/org/freedesktop/hostname1"
ETHERNET, WIFI = f"{ROOT}/Devices/1", f"{ROOT}/Devices/2"
PSK, SAE = 0x100, 0x400


@dataclass
class Station:
    """One access point: what it is called, how strong it is, what it asks for."""

    ssid: bytes
    strength: int
    rsn: int = 0
    password: str = ""


HOME = Station(b"home", 80, PSK, "correct horse")
STATIONS = [HOME, Station(b"home", 30, PSK, "correct horse"), Station(b"caf\xc3\xa9", 50), Station(b"\xff\xfe", 90)]


class FakeNetworkService:
    """The service and its bus, for the length of a `with`.

    Attributes:
        stations: what is in reach.
        address: of the bus, as DBUS_SYSTEM_BUS_ADDRESS names it.
        joined: the network the box is in, None where it is in none.
        slow: whether joining never ends.
    """

    def __init__(self, folder: Path, daemon: tuple[Path, str], *, wifi: bool = True) -> None:
        self.address = f"unix:path={folder / 'bus'}"
        self._program, self._libraries = daemon
        self.stations = STATIONS
        self.joined: bytes | None = None
        self.kept: list[dict[str, Any]] = []
        self.checkpoints: dict[str, tuple[bytes | None, int]] = {}
        self.hostname = "doorstep"
        self.device_name = ""
        self.slow = False
        self.devices = {ETHERNET: 1, **({WIFI: 2} if wifi else {})}
        self.wall_us = 0
        self.follows = True
        self.refuses_time = False
        self._scans = 0
        self._active: dict[str, int] = {}
        self._made = 0
        self._stop = threading.Event()

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
            try:
                message = self._bus.receive(timeout=0.05)
            except TimeoutError:
                continue
            if message.header.message_type is not MessageType.method_call:
                continue
            fields = message.header.fields
            path, member = fields[HeaderFields.path], fields[HeaderFields.member]
            try:
                signature, body = self._answer(path, member, message.body)
            except RefusedError as refused:
                self._bus.send(new_error(message, f"{NAME}.{refused.name}", "s", (refused.name,)))
            else:
                self._bus.send(new_method_return(message, signature or None, body))

    def _answer(self, path: str, member: str, body: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        if member == "Get":
            return "v", (self._property(path, body[1]),)
        known: dict[str, Callable[..., tuple[str, tuple[Any, ...]]]] = {
            "GetDevices": lambda: ("ao", (list(self.devices),)),
            "RequestScan": self._scan,
            "GetAllAccessPoints": lambda: (
                "ao",
                ([f"{ROOT}/AccessPoint/{number}" for number in range(len(self.stations))],),
            ),
            "AddAndActivateConnection2": self._activate,
            "CheckpointCreate": self._checkpoint,
            "CheckpointDestroy": self._destroy,
            "CheckpointRollback": self._roll_back,
            "SaveHostname": self._name,
            "SetPrettyHostname": self._pretty,
            "SetNTP": self._follow,
            "SetTime": self._set_time,
        }
        if member not in known:
            raise RefusedError("UnknownMethod")
        return known[member](*body)

    def _property(self, path: str, name: str) -> tuple[str, Any]:
        if "/AccessPoint/" in path:
            station = self.stations[int(path.rpartition("/")[2])]
            return {
                "Ssid": ("ay", station.ssid),
                "Strength": ("y", station.strength),
                "Flags": ("u", 1 if station.rsn else 0),
                "WpaFlags": ("u", 0),
                "RsnFlags": ("u", station.rsn),
            }[name]
        if path in self._active:
            return "u", self._active[path]
        values: dict[tuple[str, str], tuple[str, Any]] = {
            (ROOT, "State"): ("u", 70 if self.joined else 20),
            (f"{ROOT}/Settings", "Hostname"): ("s", self.hostname),
            (TIME_ROOT, "NTP"): ("b", self.follows),
            (HOST_ROOT, "PrettyHostname"): ("s", self.device_name),
            (WIFI, "LastScan"): ("x", self._scans),
            (WIFI, "DeviceType"): ("u", 2),
            (ETHERNET, "DeviceType"): ("u", 1),
            (ETHERNET, "Ip4Config"): ("o", "/"),
            (WIFI, "Ip4Config"): ("o", f"{ROOT}/IP4Config/1" if self.joined else "/"),
            (f"{ROOT}/IP4Config/1", "AddressData"): (
                "aa{sv}",
                [{"address": ("s", "192.0.2.7"), "prefix": ("u", 24)}],
            ),
        }
        if (path, name) not in values:
            raise RefusedError("UnknownObject")
        return values[path, name]

    def _scan(self, _options: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
        self._scans += 1
        return "", ()

    def _activate(
        self, settings: dict[str, Any], device: str, _specific: str, _options: dict[str, Any]
    ) -> tuple[str, tuple[Any, ...]]:
        assert device == WIFI
        ssid = bytes(settings["802-11-wireless"]["ssid"][1])
        psk = settings.get("802-11-wireless-security", {}).get("psk", ("s", ""))[1]
        if psk and len(psk) < 8:
            raise RefusedError("Settings.InvalidProperty")
        self._made += 1
        active = f"{ROOT}/ActiveConnection/{self._made}"
        fits = any(station.ssid == ssid and station.password == psk for station in self.stations)
        self._active[active] = 1 if self.slow else 2 if fits else 4
        if fits and not self.slow:
            self.joined = ssid
            self.kept.append(settings)
        return "ooa{sv}", (f"{ROOT}/Settings/{self._made}", active, {})

    def _checkpoint(self, devices: list[str], timeout_s: int, _flags: int) -> tuple[str, tuple[Any, ...]]:
        assert devices == [WIFI]
        self._made += 1
        path = f"{ROOT}/Checkpoint/{self._made}"
        self.checkpoints[path] = self.joined, timeout_s
        return "o", (path,)

    def _destroy(self, path: str) -> tuple[str, tuple[Any, ...]]:
        del self.checkpoints[path]
        return "", ()

    def _roll_back(self, path: str) -> tuple[str, tuple[Any, ...]]:
        self.joined, _ = self.checkpoints.pop(path)
        return "a{su}", ({WIFI: 0},)

    def _pretty(self, name: str, _interactive: bool) -> tuple[str, tuple[Any, ...]]:
        self.device_name = name
        return "", ()

    def _follow(self, follows: bool, _interactive: bool) -> tuple[str, tuple[Any, ...]]:
        self.follows = follows
        return "", ()

    def _set_time(self, wall_us: int, relative: bool, _interactive: bool) -> tuple[str, tuple[Any, ...]]:
        if self.refuses_time:
            raise RefusedError("AccessDenied")
        if self.follows:
            raise RefusedError("AutomaticTimeSyncEnabled")
        assert not relative
        self.wall_us = wall_us
        return "", ()

    def _name(self, name: str) -> tuple[str, tuple[Any, ...]]:
        self.hostname = name
        return "", ()


class RefusedError(Exception):
    """The service says no."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
