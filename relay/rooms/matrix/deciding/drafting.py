"""Events of our own: laid out on the extremities of a room as it is now, signed, authorized, committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.base.errors import ForbiddenError, NotFoundError
from relay.base.ids import EventId, RoomId, ServerName, UserId
from relay.base.limits import MAX_PREV_EVENTS
from relay.core.matrix.authorization import EventShape, auth_types, authorize
from relay.core.matrix.building import draft, hash_and_sign
from relay.core.matrix.events import Event
from relay.core.matrix.power_levels import CREATE_KEY, POWER_LEVELS_KEY, PowerLevels
from relay.core.matrix.signing import SigningKey
from relay.rooms.matrix.storage import graph, state
from relay.rooms.matrix.storage.commit import Decision, commit
from relay.rooms.matrix.storage.graph import RoomRow
from relay.rooms.matrix.storage.stored_event import Flags
from relay.store.ledger import Change, Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a user here wants to send."""

    sender: UserId
    type: str
    content: Mapping[str, Any]
    state_key: str | None = None
    redacts: EventId | None = None
    now_ms: int


def held_room(index: Index, room_id: RoomId) -> RoomRow:
    """Return the stored room.

    Raises:
        NotFoundError: this box holds no such room.
    """
    held = graph.row(index, room_id)
    if held is None:
        raise NotFoundError("this room is not known here")
    return held


def lay_out(index: Index, room: RoomRow, wanted: Draft) -> dict[str, Any]:
    """Return the unsigned event on top of the room as it is, as a `make_join` answers too."""
    return _lay_out(index, room, wanted, _cited(index, room, wanted))


def _cited(index: Index, room: RoomRow, wanted: Draft) -> dict[tuple[str, str], Event]:
    """What the event must be judged by; the create event also where it is not cited."""
    shape = EventShape(wanted.type, wanted.sender, wanted.state_key, wanted.content)
    return state.current_events(index, room.room_id, sorted({*auth_types(shape, room.version), CREATE_KEY}))


def _lay_out(index: Index, room: RoomRow, wanted: Draft, held: Mapping[tuple[str, str], Event]) -> dict[str, Any]:
    newest = sorted(room.tips)[-MAX_PREV_EVENTS:]
    prevs = graph.events_by_number(index, newest, room.version.id)
    return draft(
        room.version,
        room_id=room.room_id,
        sender=wanted.sender,
        event_type=wanted.type,
        content=wanted.content,
        state_key=wanted.state_key,
        redacts=wanted.redacts,
        prev_events=[prev.event_id for prev in prevs],
        auth_events=[
            event.event_id for key, event in held.items() if key != CREATE_KEY or not room.version.room_id_is_hash
        ],
        depth=max((prev.depth for prev in prevs), default=0) + 1,
        origin_server_ts=wanted.now_ms,
    )


def authorize_now(index: Index, room: RoomRow, event: Event) -> None:
    """Check an event against the room's current state.

    Raises:
        ForbiddenError: the rules of the room refuse it.
    """
    keys = {*auth_types(event, room.version), CREATE_KEY}
    authorize(event, state.current_events(index, room.room_id, keys))


def make(index: Index, room: RoomRow, wanted: Draft, server: ServerName, key: SigningKey) -> Event:
    """Return the signed and authorized event, not committed.

    Raises:
        ForbiddenError: the rules of the room refuse it.
        InvalidInputError: it is larger than an event may be, or has no canonical form.
    """
    held = _cited(index, room, wanted)
    event = hash_and_sign(_lay_out(index, room, wanted, held), room.version, server, key)
    authorize(event, held)
    if wanted.redacts is not None:
        _check_redaction(index, room, wanted.sender, wanted.redacts)
    return event


def append(change: Change, room: RoomRow, wanted: Draft, server: ServerName, key: SigningKey) -> EventId:
    """Make the event and commit it on top of the room; return its id.

    A state event that says what is said already makes no new event.

    Raises:
        ForbiddenError: the rules of the room refuse it.
        InvalidInputError: it is larger than an event may be, or has no canonical form.
    """
    if wanted.state_key is not None:
        held = state.current_event(change, room.room_id, wanted.type, wanted.state_key)
        if held is not None and held.sender == wanted.sender and held.content == wanted.content:
            authorize_now(change, room, held)
            return held.event_id
    event = make(change, room, wanted, server, key)
    append_made(change, room, event, server)
    return event.event_id


def append_made(change: Change, room: RoomRow, event: Event, server: ServerName) -> int:
    """Commit an event made of this very change's extremities; return its row."""
    left = tuple(sorted(room.tips)[:-MAX_PREV_EVENTS])
    decision = Decision(
        event=event,
        before=room.state,
        flags=Flags.LOCAL,
        tips=left,
        depart=concerns_others(change, room, event, server),
    )
    return commit(change, room, decision, server)


def concerns_others(index: Index, room: RoomRow, event: Event, server: ServerName) -> bool:
    """Return whether any other server has to get the event."""
    others = index.row(
        "SELECT 1 FROM room_servers WHERE room = ? AND server <> ? LIMIT 1", room.number, index.find(server) or 0
    )
    return others is not None or (event.type == "m.room.member" and not event.key[1].endswith(f":{server}"))


def _check_redaction(index: Index, room: RoomRow, sender: UserId, redacts: EventId) -> None:
    target = graph.event(index, redacts)
    if target is None or target.room_id != room.room_id:
        raise NotFoundError("the event to redact is not in this room")
    if target.event.sender == sender:
        return
    held = state.current_events(index, room.room_id, (CREATE_KEY, POWER_LEVELS_KEY))
    levels = PowerLevels.of(held, room.version)
    # Between servers any user of the target's server may redact; which of them may is for that server to say.
    if levels.level_of(sender) < levels.redact:
        raise ForbiddenError("the power level is too low for redacting other people's events")
