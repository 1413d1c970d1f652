"""Ephemeral data units from other servers: parsed into what they ask for, then applied inside a change.

A malformed unit, or one in the name of somebody who is not the sender's, is left out; it never spoils a transaction.
Source: Matrix S2S v1.19, "EDUs" and the definition of each type.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.base.errors import InvalidInputError
from relay.base.ids import (
    DeviceId,
    EventId,
    RoomId,
    ServerName,
    UserId,
    parse_event_id,
    parse_room_id,
    parse_user_id,
    server_of,
)
from relay.base.limits import MAX_EDU_DEPTH, MAX_ID_BYTES, MAX_TO_DEVICE_RECIPIENTS

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToDevice:
    """One message for one device of ours, `*` for all of the user's."""

    sender: UserId
    type: str
    message_id: str
    user: UserId
    device: DeviceId
    content: Json


@dataclass(frozen=True, slots=True)
class DeviceListUpdate:
    """A device of `user` changed; `content` is the unit's own."""

    user: UserId
    content: Json


@dataclass(frozen=True, slots=True)
class SigningKeyUpdate:
    """The cross-signing keys of `user` changed; `content` is the unit's own."""

    user: UserId
    content: Json


@dataclass(frozen=True, slots=True)
class Typing:
    """Whether `user` types in `room`."""

    room: RoomId
    user: UserId
    typing: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far `user` has read in `room`."""

    room: RoomId
    user: UserId
    event_id: EventId
    thread_id: str | None
    ts_ms: int


Action = ToDevice | DeviceListUpdate | SigningKeyUpdate | Typing | Receipt


def parse_edus(origin: ServerName, here: ServerName, units: Sequence[Any]) -> tuple[list[Action], int]:
    """Return what `units` ask for, in order, and how many were left out as malformed or not `origin`'s to send.

    Types that this box does not know, and presence, ask for nothing and are not counted.
    """
    actions: list[Action] = []
    left_out = 0
    for unit in units:
        try:
            actions += _parse(origin, here, unit)
        except InvalidInputError:
            left_out += 1
    return actions, left_out


def _parse(origin: ServerName, here: ServerName, unit: object) -> list[Action]:
    if not isinstance(unit, dict):
        raise InvalidInputError("an EDU is not an object")
    kind = _text(unit, "edu_type")
    parser = _PARSERS.get(kind)
    if parser is None:
        return []
    content = unit.get("content")
    if not isinstance(content, dict):
        raise InvalidInputError("an EDU has no content")
    return parser(origin, here, content)


def _to_device(origin: ServerName, here: ServerName, content: Json) -> list[Action]:
    sender = _user_of(origin, content, "sender")
    kind, message_id = _text(content, "type"), _text(content, "message_id")
    actions: list[Action] = []
    for name, by_device in _object(content, "messages").items():
        user = parse_user_id(name)
        if server_of(user) != here or not isinstance(by_device, dict):
            raise InvalidInputError("a to-device message is for nobody here")
        for device, message in by_device.items():
            if not isinstance(message, dict) or len(device) > MAX_ID_BYTES or not is_shallow(message):
                raise InvalidInputError("a to-device message is malformed")
            actions.append(ToDevice(sender, kind, message_id, user, DeviceId(device), message))
            if len(actions) > MAX_TO_DEVICE_RECIPIENTS:
                raise InvalidInputError(f"a to-device message is for more than {MAX_TO_DEVICE_RECIPIENTS} devices")
    return actions


def _device_list(origin: ServerName, _here: ServerName, content: Json) -> list[Action]:
    user = _user_of(origin, content, "user_id")
    _text(content, "device_id")
    _integer(content, "stream_id")
    if not is_shallow(content):
        raise InvalidInputError("a device list update is nested too deeply")
    return [DeviceListUpdate(user, content)]


def _signing_keys(origin: ServerName, _here: ServerName, content: Json) -> list[Action]:
    user = _user_of(origin, content, "user_id")
    for name in ("master_key", "self_signing_key"):
        if not isinstance(content.get(name, {}), dict):
            raise InvalidInputError(f"{name} is not an object")
    if not is_shallow(content):
        raise InvalidInputError("a signing key update is nested too deeply")
    return [SigningKeyUpdate(user, content)]


def _typing(origin: ServerName, _here: ServerName, content: Json) -> list[Action]:
    typing = content.get("typing")
    if not isinstance(typing, bool):
        raise InvalidInputError("typing is not true or false")
    return [Typing(parse_room_id(_text(content, "room_id")), _user_of(origin, content, "user_id"), typing)]


def _receipts(origin: ServerName, _here: ServerName, content: Json) -> list[Action]:
    actions: list[Action] = []
    for room, kinds in content.items():
        room_id = parse_room_id(room)
        read = kinds.get("m.read") if isinstance(kinds, dict) else None
        if not isinstance(read, dict):
            raise InvalidInputError("a receipt has no m.read")
        for name, receipt in read.items():
            user = parse_user_id(name)
            if server_of(user) != origin or not isinstance(receipt, dict):
                raise InvalidInputError("a receipt is not its sender's")
            actions.append(_receipt(room_id, user, receipt))
    return actions


def _receipt(room: RoomId, user: UserId, receipt: Json) -> Receipt:
    events, data = receipt.get("event_ids"), receipt.get("data", {})
    if not isinstance(events, list) or not events or not isinstance(events[-1], str) or not isinstance(data, dict):
        raise InvalidInputError("a receipt names no event")
    thread = data.get("thread_id")
    if thread is not None and (not isinstance(thread, str) or len(thread) > MAX_ID_BYTES):
        raise InvalidInputError("a receipt names a malformed thread")
    return Receipt(room, user, parse_event_id(events[-1]), thread, _integer(data, "ts"))


_PARSERS: Mapping[str, Callable[[ServerName, ServerName, Json], list[Action]]] = {
    "m.direct_to_device": _to_device,
    "m.device_list_update": _device_list,
    "m.signing_key_update": _signing_keys,
    "m.typing": _typing,
    "m.receipt": _receipts,
}


def is_shallow(value: object, levels: int = MAX_EDU_DEPTH) -> bool:
    """Return whether a JSON value is nested at most `levels` deep: nothing deeper is stored for an app to choke on."""
    if isinstance(value, dict):
        return levels > 0 and all(is_shallow(child, levels - 1) for child in value.values())
    if isinstance(value, list):
        return levels > 0 and all(is_shallow(child, levels - 1) for child in value)
    return True


def _text(content: Json, name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value or len(value) > MAX_ID_BYTES:
        raise InvalidInputError(f"{name} is missing or not a short text")
    return value


def _integer(content: Json, name: str) -> int:
    value = content.get(name)
    # SQLite keeps 64 bits; canonical JSON allows 53.
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**53:
        raise InvalidInputError(f"{name} is missing or not an integer")
    return value


def _object(content: Json, name: str) -> Json:
    value = content.get(name)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} is missing or not an object")
    return value


def _user_of(origin: ServerName, content: Json, name: str) -> UserId:
    user = parse_user_id(_text(content, name))
    if server_of(user) != origin:
        raise InvalidInputError(f"{name} is not the sending server's user")
    return user
