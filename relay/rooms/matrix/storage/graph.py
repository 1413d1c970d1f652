"""Rooms and events by their ids."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.base.ids import EventId, RoomId, UserId
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import RoomVersion, room_version
from relay.rooms.matrix.storage.packing import read_event
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent, flags_of, id_blob, id_text
from relay.store.ledger import Index

# Plain, because this runs for every event that is read.
_REJECTED = int(Flags.REJECTED)
_TIP = struct.Struct("<I")
_EVENT = (
    "SELECT e.number, e.room, e.place, e.flags, e.redaction, e.id, e.pdu, r.version FROM events e"
    " LEFT JOIN rooms r ON r.number = e.room"
)
_BY_NUMBER = f"{_EVENT} WHERE e.number = ?"
_NEWEST_GENERATION = "SELECT max(number) >> 16 FROM events"
_NUMBER_BY_ID = (
    "SELECT number FROM events WHERE (number >> 16) = ?2 AND substr(id, 1, 4) = substr(?1, 1, 4) AND id = ?1"
)
_CURRENT = (
    "SELECT e.number, e.room, e.place, e.flags, e.redaction, e.id, e.pdu, r.version FROM current_state c"
    " JOIN events e ON e.number = c.event JOIN rooms r ON r.number = c.room"
    " WHERE c.room = ? AND c.type = ? AND c.state_key = ?"
)
_KNOWN = "SELECT number, flags, state FROM events WHERE number = ?"


@dataclass(frozen=True, slots=True)
class RoomRow:
    """A room as stored; numbers inside are interned ids and event numbers."""

    number: int
    room_id: RoomId
    version: RoomVersion
    creation: int
    state: int
    tips: tuple[int, ...]
    floor: int
    changed: int
    state_changed: int
    published: bool


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """What a reader may want to know of a room first."""

    room_id: RoomId
    version: RoomVersion
    creator: UserId
    encrypted: bool
    published: bool
    changed: int
    """Position of the newest event or state change."""


def row(index: Index, room: RoomId) -> RoomRow | None:
    """Return the stored room, None if this box holds no such room."""
    number = index.find(room)
    return None if number is None else row_of(index, number, room)


def row_of(index: Index, number: int, room: RoomId) -> RoomRow | None:
    """As `row`, with the interned number at hand."""
    found = index.row(
        "SELECT version, creation, state, tips, floor, changed, state_changed, published FROM rooms WHERE number = ?",
        number,
    )
    if found is None:
        return None
    version, creation, state, tips, floor, changed, state_changed, published = found
    unpacked = tuple(tip for (tip,) in _TIP.iter_unpack(tips))
    return RoomRow(
        number, room, room_version(version), creation, state, unpacked, floor, changed, state_changed, bool(published)
    )


def pack_tips(tips: Iterable[int]) -> bytes:
    """Return event numbers as a room's row keeps them."""
    return b"".join(_TIP.pack(tip) for tip in sorted(tips))


def room(index: Index, room_id: RoomId) -> RoomInfo | None:
    """Return what is known of a room, None if this box holds no such room."""
    held = row(index, room_id)
    if held is None:
        return None
    creation = by_number(index, held.creation, held.version.id).event
    encryption = index.find("m.room.encryption")
    empty_key = index.find("")
    encrypted = index.value(
        "SELECT 1 FROM current_state WHERE room = ? AND type = ? AND state_key = ?", held.number, encryption, empty_key
    )
    return RoomInfo(
        room_id=room_id,
        version=held.version,
        creator=UserId(creation.sender),
        encrypted=encrypted is not None,
        published=held.published,
        changed=held.changed,
    )


def rooms(index: Index) -> list[RoomId]:
    """Return every room this box holds."""
    return [RoomId(index.name(number)) for (number,) in index.rows("SELECT number FROM rooms ORDER BY number")]


def extremities(index: Index, room_id: RoomId) -> list[EventId]:
    """Return the forward extremities of a room; empty if the room is unknown."""
    held = row(index, room_id)
    return [] if held is None else [id_of(index, tip) for tip in held.tips]


def event(index: Index, event_id: EventId, *, version: str | None = None) -> StoredEvent | None:
    """Return a stored event, None if it is not here. `version`: of the room, where its row is not written yet."""
    number = number_of(index, event_id)
    return None if number is None else by_number(index, number, version)


def by_number(index: Index, number: int, version: str | None = None) -> StoredEvent:
    """Return the event in row `number`.

    Raises:
        KeyError: there is no such row.
    """
    found = index.row(_BY_NUMBER, number)
    if found is None:
        raise KeyError(number)
    return _stored(index, found, version)


def sender_of(index: Index, number: int) -> str:
    """Return who sent the event in row `number`."""
    return by_number(index, number).event.sender


def events_by_number(index: Index, numbers: Iterable[int], version: str | None = None) -> list[Event]:
    """Return the events in these rows, in this order."""
    return [by_number(index, number, version).event for number in numbers]


@dataclass(frozen=True, slots=True)
class Known:
    """What is decided about an event, without the event."""

    number: int
    flags: Flags
    state: int | None


def known(index: Index, event_id: EventId) -> Known | None:
    """Return what is decided about an event, None if it is not here."""
    found = index.row(_KNOWN, number_of(index, event_id))
    return None if found is None else Known(found[0], Flags(found[1]), found[2])


def current(index: Index, room_number: int, kind: int, state_key: int) -> StoredEvent | None:
    """Return the current state event under an interned key."""
    found = index.row(_CURRENT, room_number, kind, state_key)
    return None if found is None else _stored(index, found, None)


def number_of(index: Index, event_id: EventId) -> int | None:
    """Return the row of an event, None if it is not here."""
    blob = id_blob(event_id)
    # The newest generation first: what is asked for is nearly always young.
    for generation in range(index.value(_NEWEST_GENERATION) or 0, -1, -1):
        number: int | None = index.value(_NUMBER_BY_ID, blob, generation)
        if number is not None:
            return number
    return None


def numbers_of(index: Index, event_ids: Iterable[EventId]) -> Mapping[EventId, int]:
    """Return the rows of those events that are here."""
    found = ((event_id, number_of(index, event_id)) for event_id in event_ids)
    return {event_id: number for event_id, number in found if number is not None}


def id_of(index: Index, number: int) -> EventId:
    """Return the id of the event in row `number`."""
    return id_text(index.value("SELECT id FROM events WHERE number = ?", number))


def _stored(index: Index, found: tuple[Any, ...], version: str | None) -> StoredEvent:
    number, room_number, place, flags, redaction, blob, packed, room_version_id = found
    room_id = RoomId(index.name(room_number))
    known = room_version_id or version or "12"
    because = None if redaction is None else by_number(index, redaction, known).event
    return StoredEvent(
        event=read_event(packed, id_text(blob), room_id, known, rejected=bool(flags & _REJECTED)),
        number=number,
        flags=flags_of(flags),
        order=place,
        redacted_because=because,
    )
