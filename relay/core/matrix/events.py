"""An event: read from a PDU, checked for form and size, hashed, named.

Sources: Matrix specification v1.19, room versions 6 to 12, "Event format" and "Event IDs"; Server-Server API,
"Checks performed on receipt of a PDU", "Calculating the reference hash for an event"; Client-Server API, "Size limits".
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from relay.base.errors import InvalidInputError
from relay.base.ids import EventId, RoomId, UserId, parse_room_id, parse_user_id
from relay.base.limits import MAX_AUTH_EVENTS, MAX_EVENT_BYTES, MAX_ID_BYTES, MAX_PREV_EVENTS
from relay.core.matrix import canonical_json, unpadded_base64
from relay.core.matrix.redaction import redact
from relay.core.matrix.room_versions import RoomVersion

MAX_DEPTH: Final = 2**53 - 1
CREATE: Final = "m.room.create"

_NOT_IN_CONTENT_HASH: Final = frozenset({"hashes", "signatures", "unsigned"})
_EVENT_ID: Final = re.compile(r"\$[A-Za-z0-9_-]{43}")


class MalformedEventError(InvalidInputError):
    """A PDU does not have the format of its room version."""

    code = "event.malformed"


class EventTooLargeError(InvalidInputError):
    """A PDU, or a field of it, is larger than the specification allows."""

    code = "event.too_large"


StateKey = tuple[str, str]
"""(event type, state key): which place in the room's state an event takes."""


@dataclasses.dataclass(slots=True, eq=False, kw_only=True)
class Event:
    """One event of a room, immutable by convention; `content` and `raw` are never copied and never changed.

    Attributes:
        raw: the PDU as it travels between servers, without `unsigned`.
        auth_events: as cited; from room version 12 on the create event is not among them (see `all_auth_events`).
        content_hash_ok: False means: only the redacted form may be kept (`redacted_event`).
        rejected: this box refused it; set by whoever reads it back from the store.
    """

    event_id: EventId
    room_id: RoomId
    type: str
    state_key: str | None
    sender: UserId
    content: Mapping[str, Any]
    depth: int
    prev_events: tuple[EventId, ...]
    auth_events: tuple[EventId, ...]
    origin_server_ts: int
    redacts: EventId | None
    raw: Mapping[str, Any]
    version: RoomVersion
    content_hash_ok: bool = True
    rejected: bool = False
    _signed: bytes | None = None

    @property
    def is_state(self) -> bool:
        """Whether the event changes the room's state."""
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """Which place in the state it takes; only of state events."""
        assert self.state_key is not None
        return (self.type, self.state_key)

    @property
    def create_id(self) -> EventId | None:
        """The create event of the room where the room id tells it (room version 12)."""
        return EventId("$" + self.room_id[1:]) if self.version.room_id_is_hash else None

    @property
    def all_auth_events(self) -> tuple[EventId, ...]:
        """The auth events, and the create event also where it is only implied."""
        if self.version.room_id_is_hash and self.type != CREATE:
            return (*self.auth_events, EventId("$" + self.room_id[1:]))
        return self.auth_events

    def signed_bytes(self) -> bytes:
        """Return what signatures cover and the event id hashes: the canonical redacted form without signatures."""
        if self._signed is None:
            self._signed = _reference_bytes(self.raw, self.version)
        return self._signed

    def __repr__(self) -> str:
        return f"Event({self.event_id})"


def parse_pdu(raw: Mapping[str, Any], version: RoomVersion) -> Event:
    """Return the event of a PDU; form, sizes and limits are checked, signatures and authorization are not.

    `unsigned` is dropped: it is anybody's word.

    Raises:
        MalformedEventError: a field is missing or has the wrong form.
        EventTooLargeError: the PDU is larger than `MAX_EVENT_BYTES`, or an identifier than `MAX_ID_BYTES`.
        InvalidInputError: it has no canonical form, or names an impossible sender or room.
    """
    if "unsigned" in raw:
        raw = {key: value for key, value in raw.items() if key != "unsigned"}
    return _parse(raw, version, hashed_bytes(raw), None)


def parse_made(raw: Mapping[str, Any], version: RoomVersion, *, hashed: bytes, signed: bytes) -> Event:
    """Return what `parse_pdu` returns, where `hashed_bytes` of `raw` and what is signed of it are known already.

    Raises:
        InvalidInputError: as `parse_pdu`.
    """
    return _parse(raw, version, hashed, signed)


def _parse(raw: Mapping[str, Any], version: RoomVersion, body: bytes, signed: bytes | None) -> Event:
    hashes, signatures = _dict(raw, "hashes"), _dict(raw, "signatures")
    if not all(isinstance(entry, dict) for entry in signatures.values()):
        raise MalformedEventError("signatures is not an object of objects")
    claimed_hash = hashes.get("sha256")
    if not isinstance(claimed_hash, str):
        raise MalformedEventError("hashes.sha256 is missing")
    seals = canonical_json.encode({"hashes": hashes, "signatures": signatures})
    if len(body) + len(seals) - 1 > MAX_EVENT_BYTES:
        raise EventTooLargeError(f"event is larger than {MAX_EVENT_BYTES} bytes")
    signed = _reference_bytes(raw, version) if signed is None else signed
    event_id = EventId("$" + unpadded_base64.encode_url(hashlib.sha256(signed).digest()))
    event = _read(raw, version, event_id)
    event.content_hash_ok = _same_hash(claimed_hash, hashlib.sha256(body).digest())
    event._signed = signed  # noqa: SLF001 - this module's own
    return event


def stored_event(raw: Mapping[str, Any], version: RoomVersion, event_id: EventId, *, rejected: bool = False) -> Event:
    """Return an event that `parse_pdu` has accepted before, without checking or hashing it again."""
    event = _read_unchecked(raw, version, event_id)
    event.rejected = rejected
    return event


def redacted_event(event: Event) -> Event:
    """Return the event with what a redaction leaves of it; the id stays the same."""
    kept = _read_unchecked(redact(event.raw, event.version), event.version, event.event_id)
    kept.rejected = event.rejected
    return kept


def check_content_hash(event: Event) -> bool:
    """Return whether the content is what its sender hashed; otherwise only `redacted_event` may be kept."""
    return event.content_hash_ok


def hashed_bytes(raw: Mapping[str, Any]) -> bytes:
    """Return what the content hash covers: the canonical form without hashes, signatures and `unsigned`.

    Raises:
        NotCanonicalError: it has no canonical form.
    """
    return canonical_json.encode({key: value for key, value in raw.items() if key not in _NOT_IN_CONTENT_HASH})


def event_id_of(raw: Mapping[str, Any], version: RoomVersion) -> EventId:
    """Return the id of a PDU: its reference hash.

    Raises:
        NotCanonicalError: it has no canonical form.
    """
    canonical_json.encode(raw)
    return EventId("$" + unpadded_base64.encode_url(hashlib.sha256(_reference_bytes(raw, version)).digest()))


def client_format(
    event: Event, *, unsigned: Mapping[str, Any] | None = None, with_room_id: bool = True
) -> dict[str, Any]:
    """Return the event as apps see it.

    `redacts` of a redaction stands in both places, as the specification asks for older and newer apps.
    Source: Client-Server API, "Room event format"; `m.room.redaction`.
    """
    shown: dict[str, Any] = {
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "sender": event.sender,
        "type": event.type,
    }
    if with_room_id:
        shown["room_id"] = event.room_id
    if event.state_key is not None:
        shown["state_key"] = event.state_key
    if event.redacts is not None and event.type == "m.room.redaction":
        shown["redacts"] = event.redacts
        if "redacts" not in event.content:
            shown["content"] = {**event.content, "redacts": event.redacts}
    if unsigned:
        shown["unsigned"] = unsigned
    return shown


def _read(raw: Mapping[str, Any], version: RoomVersion, event_id: EventId) -> Event:
    sender = parse_user_id(_text(raw, "sender"))
    _text(raw, "type")
    if "state_key" in raw:
        _text(raw, "state_key")
    if "event_id" in raw:
        raise MalformedEventError("an event of this room version does not carry its id")
    _dict(raw, "content")
    depth, sent_ms = raw.get("depth"), raw.get("origin_server_ts")
    if type(depth) is not int or not 0 <= depth <= MAX_DEPTH:
        raise MalformedEventError("depth is not an integer from 0 to 2^53 - 1")
    if type(sent_ms) is not int:
        raise MalformedEventError("origin_server_ts is not an integer")
    _ids(raw, "prev_events", MAX_PREV_EVENTS)
    _ids(raw, "auth_events", MAX_AUTH_EVENTS)
    _check_room_id(raw, version)
    event = _read_unchecked(raw, version, event_id)
    event.sender = sender
    return event


def _check_room_id(raw: Mapping[str, Any], version: RoomVersion) -> None:
    if version.room_id_is_hash and raw["type"] == CREATE and raw.get("state_key") == "":
        if "room_id" in raw:
            raise MalformedEventError("a create event of this room version has no room_id")
        return
    room_id = parse_room_id(_text(raw, "room_id"))
    if version.room_id_is_hash is (":" in room_id):
        raise MalformedEventError("room_id has not the form of this room version")
    if version.room_id_is_hash and "$" + room_id[1:] in raw["auth_events"]:
        raise MalformedEventError("auth_events names the create event, which the room id implies")


def _read_unchecked(raw: Mapping[str, Any], version: RoomVersion, event_id: EventId) -> Event:
    content = raw["content"]
    redacts = content.get("redacts") if version.redacts_in_content else raw.get("redacts")
    room_id = raw.get("room_id")
    return Event(
        event_id=event_id,
        room_id=RoomId("!" + event_id[1:]) if room_id is None else room_id,
        type=raw["type"],
        state_key=raw.get("state_key"),
        sender=raw["sender"],
        content=content,
        depth=raw["depth"],
        prev_events=tuple(raw["prev_events"]),
        auth_events=tuple(raw["auth_events"]),
        origin_server_ts=raw["origin_server_ts"],
        redacts=EventId(redacts) if isinstance(redacts, str) else None,
        raw=raw,
        version=version,
    )


def _reference_bytes(raw: Mapping[str, Any], version: RoomVersion) -> bytes:
    kept = redact(raw, version)
    kept.pop("signatures", None)
    return canonical_json.encode_checked(kept)


def _same_hash(claimed: str, actual: bytes) -> bool:
    try:
        return unpadded_base64.decode(claimed) == actual
    except InvalidInputError:
        return False


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str):
        raise MalformedEventError(f"{name} is not a string")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise EventTooLargeError(f"{name} is longer than {MAX_ID_BYTES} bytes")
    return value


def _dict(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = raw.get(name)
    if not isinstance(value, dict):
        raise MalformedEventError(f"{name} is not an object")
    return cast("dict[str, Any]", value)


def _ids(raw: Mapping[str, Any], name: str, most: int) -> None:
    value = raw.get(name)
    if not isinstance(value, list):
        raise MalformedEventError(f"{name} is not an array")
    if len(value) > most:
        raise MalformedEventError(f"{name} has more than {most} entries")
    for entry in value:
        if not isinstance(entry, str) or not _EVENT_ID.fullmatch(entry):
            raise MalformedEventError(f"{name} holds something that is not an event id")
