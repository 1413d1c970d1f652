"""The same console for the installers that people have in their browsers: Improv commands as scripts.

A browser gives up on a box that does not tell its state within a second: that is answered at once, from what the kernel
knows. Everything else may take the 30 s a browser waits.
"""

import re
from collections.abc import Callable, Generator
from typing import Any

from relay.base.errors import RelayError
from relay.base.lines import result_of
from relay.console import improv
from relay.console.gate import Gate, LockedError
from relay.console.improv import Command, Error, NetworkFlag, State, render_error, render_result, render_state
from relay.console.operator import Place
from relay.console.script import Packet, Request, Script, Step

Dialogue = Generator[Step, Any, None]

FIRMWARE = "Doorstep"
# RFC 1123, section 2.1.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_MOST_HOSTNAME_BYTES = 253
_MOST_NAME_CHARACTERS = 64


class Installer:
    """Answers the packets of one line."""

    def __init__(self, place: Callable[[], Place], gate: Gate) -> None:
        self._place = place
        self._gate = gate

    def begin(self, event: improv.Event) -> Script:
        """Return the script that answers a command, or the refusal of a packet that is none."""
        if isinstance(event, improv.Refused):
            yield Packet(render_error(event.error))
            return None
        yield Packet(render_error(Error.NONE))
        try:
            yield from self._answer(event)
        except LockedError:
            yield Packet(render_error(Error.NOT_AUTHORIZED))
        except RelayError:
            # The protocol has no words for it; a person at the same line has `doctor`.
            yield Packet(render_error(Error.UNKNOWN))
        return None

    def _answer(self, event: improv.Event) -> Dialogue:
        match event:
            case improv.AskState():
                yield from self._state()
            case improv.SendWifi(ssid, password):
                yield from self._join(ssid, password)
            case improv.AskInfo():
                yield from self._info()
            case improv.Scan():
                yield from self._scan()
            case improv.Hostname(name):
                yield from self._hostname(name)
            case improv.DeviceName(name):
                yield from self._device_name(name)
            case improv.AskNetwork():
                yield from self._network()

    def _state(self) -> Dialogue:
        place = self._place()
        yield Packet(render_state(State.PROVISIONED if place.online else State.READY))
        if place.online:
            yield Packet(render_result(Command.CURRENT_STATE, _texts(place)))

    def _join(self, ssid: str, password: str) -> Dialogue:
        self._gate.require("wifi_join")
        yield Packet(render_state(State.PROVISIONING))
        try:
            result_of((yield Request({"verb": "wifi_join", "ssid": ssid, "password": password})))
        except RelayError:
            yield Packet(render_state(State.READY))
            yield Packet(render_error(Error.UNABLE_TO_CONNECT))
            return
        yield Packet(render_state(State.PROVISIONED))
        yield Packet(render_result(Command.SEND_WIFI, _texts(self._place())))

    def _info(self) -> Dialogue:
        facts = result_of((yield Request({"verb": "about"})))
        texts = [FIRMWARE, facts["version"], facts["board"], facts["name"], facts["system"], facts["system_version"]]
        yield Packet(render_result(Command.DEVICE_INFO, texts))

    def _scan(self) -> Dialogue:
        found = result_of((yield Request({"verb": "wifi_scan"})))["networks"]
        for network in found:
            if network.get("enterprise"):
                # The protocol has no words for why it would not be joined.
                continue
            secured = "YES" if network["secured"] else "NO"
            yield Packet(render_result(Command.SCAN, [network["ssid"], str(network["signal_dbm"]), secured]))
        yield Packet(render_result(Command.SCAN, []))

    def _hostname(self, name: str) -> Dialogue:
        labels = name.split(".")
        if name and (len(name) > _MOST_HOSTNAME_BYTES or not all(map(_LABEL.fullmatch, labels))):
            yield Packet(render_error(Error.BAD_HOSTNAME))
            return
        if name:
            self._gate.require("hostname_set")
            result_of((yield Request({"verb": "hostname_set", "hostname": name})))
        facts = result_of((yield Request({"verb": "about"})))
        yield Packet(render_result(Command.HOSTNAME, [facts["hostname"]]))

    def _device_name(self, name: str) -> Dialogue:
        if name:
            self._gate.require("device_name_set")
            result_of((yield Request({"verb": "device_name_set", "name": name[:_MOST_NAME_CHARACTERS]})))
        facts = result_of((yield Request({"verb": "about"})))
        yield Packet(render_result(Command.DEVICE_NAME, [facts["name"]]))

    def _network(self) -> Dialogue:
        facts = result_of((yield Request({"verb": "network"})))
        flags = NetworkFlag(0)
        for flag, on in (
            (NetworkFlag.ONLINE, facts["online"]),
            (NetworkFlag.WIFI, facts["wifi"]),
            (NetworkFlag.ETHERNET, facts["ethernet"]),
        ):
            flags |= flag if on else NetworkFlag(0)
        urls = _texts(self._place()) if facts["online"] else []
        yield Packet(render_result(Command.NETWORK_STATE, [str(int(flags)), *urls]))


def _texts(place: Place) -> list[str]:
    return [place.url] if place.url else []
