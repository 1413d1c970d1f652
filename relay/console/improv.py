"""Improv Wi-Fi over serial, the device's side: bytes in, commands out, replies as bytes.

It needs nothing but the standard library. The protocol shares its line with people and logs, so `ImprovReader` hands
on what is no packet as it arrives:

    reader = ImprovReader()
    for event in reader.receive(data):
        match event:
            case Text(data): ...                  # somebody types
            case Begun(): ...                     # the last six bytes of text were the start of a packet after all
            case SendWifi(ssid, password): ...    # one class a command
            case Refused(error): ...              # answer with render_error(error)

Source: improv-wifi.com, "Improv via Serial"; state 0x00 and command 0x07 as in its browser SDK (improv-wifi-serial-sdk
2.8). A packet is

    IMPROV | version 0x01 | type | length of data | data | sum of all bytes before, modulo 256

The SDK takes up packets only after a newline: whatever is written stands between two.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

_HEADER = b"IMPROV\x01"
_PREFIX_BYTES = 6
_LEAST_BYTES = len(_HEADER) + 3
_MOST_BYTES = 255
_RPC_COMMAND, _RPC_RESULT, _CURRENT_STATE, _ERROR_STATE = 0x03, 0x04, 0x01, 0x02


class State(enum.IntEnum):
    """What the provisioning service does now."""

    STOPPED = 0x00
    READY = 0x02
    PROVISIONING = 0x03
    PROVISIONED = 0x04


class Error(enum.IntEnum):
    """Why the last command failed. NOT_AUTHORIZED is the Bluetooth variant's: the SDK calls it an unknown error, 4."""

    NONE = 0x00
    INVALID_PACKET = 0x01
    UNKNOWN_COMMAND = 0x02
    UNABLE_TO_CONNECT = 0x03
    NOT_AUTHORIZED = 0x04
    BAD_HOSTNAME = 0x05
    UNKNOWN = 0xFF


class Command(enum.IntEnum):
    """The numbers that results carry."""

    SEND_WIFI = 0x01
    CURRENT_STATE = 0x02
    DEVICE_INFO = 0x03
    SCAN = 0x04
    HOSTNAME = 0x05
    DEVICE_NAME = 0x06
    NETWORK_STATE = 0x07


class NetworkFlag(enum.IntFlag):
    """What the first string of a network-state result says, as a decimal number."""

    ONLINE = 1
    WIFI = 2
    ETHERNET = 4
    THREAD = 8
    MODEM = 16


@dataclass(frozen=True, slots=True)
class Text:
    """Bytes that are no packet, as they came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """A packet has begun: what was handed out as text just before, at most six bytes, belongs to it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A packet that is garbled, or no command that there is."""

    error: Error


@dataclass(frozen=True, slots=True)
class SendWifi:
    """Join this network; an empty password means an open one."""

    ssid: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AskState:
    """Tell the current state."""


@dataclass(frozen=True, slots=True)
class AskInfo:
    """Tell what this device is."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Tell which networks there are."""


@dataclass(frozen=True, slots=True)
class Hostname:
    """Tell the host name; where `name` is not empty, set it first."""

    name: str


@dataclass(frozen=True, slots=True)
class DeviceName:
    """Tell the name of the device; where `name` is not empty, set it first."""

    name: str


@dataclass(frozen=True, slots=True)
class AskNetwork:
    """Tell whether the device is online, and by what it could be."""


_QUESTIONS: dict[int, AskState | AskInfo | Scan | AskNetwork] = {
    Command.CURRENT_STATE: AskState(),
    Command.DEVICE_INFO: AskInfo(),
    Command.SCAN: Scan(),
    Command.NETWORK_STATE: AskNetwork(),
}

Event = Text | Begun | Refused | SendWifi | AskState | AskInfo | Scan | Hostname | DeviceName | AskNetwork


class ImprovReader:
    """Finds packets in a stream of bytes; how the stream is split never matters."""

    def __init__(self) -> None:
        self._matched = 0
        self._packet = bytearray()

    @property
    def inside(self) -> bool:
        """Return whether a packet has begun and not ended."""
        return bool(self._packet)

    def receive(self, data: bytes) -> list[Event]:
        """Return what `data` holds, in order; text that stands together is one event only within one call."""
        events: list[Event] = []
        text = bytearray()
        for byte in data:
            if self._packet:
                self._packet.append(byte)
                self._end_packet(events)
                continue
            if byte == _HEADER[self._matched] and self._matched == _PREFIX_BYTES:
                _hand_on(text, events)
                events.append(Begun())
                self._packet += _HEADER
                self._matched = 0
                continue
            text.append(byte)
            # No proper end of the prefix is its beginning, so a mismatch can only start at its first byte.
            self._matched = self._matched + 1 if byte == _HEADER[self._matched] else int(byte == _HEADER[0])
        _hand_on(text, events)
        return events

    def give_up(self) -> list[Event]:
        """Refuse a packet whose rest does not come; a sender writes one in one go, so a second is long enough."""
        if not self._packet:
            return []
        self._packet.clear()
        return [Refused(Error.INVALID_PACKET)]

    def _end_packet(self, events: list[Event]) -> None:
        while len(self._packet) >= _LEAST_BYTES and len(self._packet) == _LEAST_BYTES + self._packet[8]:
            packet = bytes(self._packet)
            self._packet.clear()
            if sum(packet[:-1]) & 0xFF == packet[-1]:
                events.append(_parse(packet[7], packet[9:-1]))
                return
            # A lost byte makes a packet swallow the start of the next one: that one is not lost with it.
            events.append(Refused(Error.INVALID_PACKET))
            begin = packet.find(_HEADER, 1)
            if begin > 0:
                events += [Begun(), *self._resume(packet[begin + len(_HEADER) :])]

    def _resume(self, rest: bytes) -> list[Event]:
        self._packet += _HEADER
        events: list[Event] = []
        for event in self.receive(rest):
            # What stood between two garbled packets was typed by nobody.
            if not isinstance(event, Text):
                events.append(event)
        return events


def render_state(state: State) -> bytes:
    """Return the packet that tells the current state, newlines around it."""
    return _render(_CURRENT_STATE, bytes([state]))


def render_error(error: Error) -> bytes:
    """Return the packet that tells the error state, newlines around it."""
    return _render(_ERROR_STATE, bytes([error]))


def render_result(command: Command, texts: Sequence[str]) -> bytes:
    """Return the packet that answers `command` with `texts`, newlines around it.

    Texts that do not fit are left out, from the first such one on; one of more than 255 bytes never fits.
    """
    packed = bytearray()
    for text in texts:
        encoded = text.encode()
        if len(packed) + 1 + len(encoded) > _MOST_BYTES - 2:
            break
        packed.append(len(encoded))
        packed += encoded
    return _render(_RPC_RESULT, bytes([command, len(packed)]) + packed)


def _render(kind: int, data: bytes) -> bytes:
    packet = _HEADER + bytes([kind, len(data)]) + data
    return b"\n" + packet + bytes([sum(packet) & 0xFF]) + b"\n"


def _parse(kind: int, data: bytes) -> Event:
    if kind != _RPC_COMMAND or len(data) < 2 or data[1] != len(data) - 2:
        return Refused(Error.INVALID_PACKET)
    number, payload = data[0], data[2:]
    try:
        return _command(number, payload)
    except (ValueError, IndexError):
        return Refused(Error.INVALID_PACKET)


def _command(number: int, payload: bytes) -> Event:
    if number in _QUESTIONS and not payload:
        return _QUESTIONS[number]
    match number:
        case Command.SEND_WIFI:
            ssid, rest = _cut(payload)
            password, rest = _cut(rest)
            return SendWifi(ssid.decode(), password.decode()) if ssid and not rest else Refused(Error.INVALID_PACKET)
        case Command.HOSTNAME:
            return Hostname(payload.decode())
        case Command.DEVICE_NAME:
            return DeviceName(payload.decode())
    return Refused(Error.INVALID_PACKET if number in _QUESTIONS else Error.UNKNOWN_COMMAND)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    length = data[0]
    if len(data) < 1 + length:
        raise ValueError
    return data[1 : 1 + length], data[1 + length :]


def _hand_on(text: bytearray, events: list[Event]) -> None:
    if text:
        events.append(Text(bytes(text)))
        text.clear()
