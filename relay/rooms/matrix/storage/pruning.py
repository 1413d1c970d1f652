"""Letting go of a room's oldest messages, a bounded piece at a time.

What goes is messages: rows nothing else refers to. State stays as long as a state, an auth chain or a membership may
need it, and becomes what a join brings as well: an outlier, known but not part of the timeline. So do redactions of
what stays. A forward extremity keeps its state, and the newest event of a room stays where it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from relay.base.errors import InvalidInputError
from relay.base.ids import EventId, RoomId, ServerName, parse_event_id
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import departures, graph
from relay.rooms.matrix.storage.graph import RoomRow
from relay.rooms.matrix.storage.memberships import BAN, LEAVE
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent, id_blob
from relay.rooms.matrix.tables import (
    DROP_EVENT,
    FORGET_REDACTION,
    LIFT_FLOOR,
    MARK_GAP,
    NOTE_HISTORY,
    REMEMBER_REDACTION,
    RETIRE_EVENT,
    TAKE_OUT_EVENT,
)
from relay.store.ledger import Change, Index

AT_A_TIME = 48
"""Events looked at in one step: at most five operations each."""

# A sender may lie about the depth of an event, hardly about that of so many.
_DEPTHS = 20
_OLDEST = "SELECT number FROM events WHERE room = ? AND place < ? ORDER BY place LIMIT ?"
_NEXT = "SELECT number FROM events WHERE room = ? AND place >= ? ORDER BY place LIMIT ?"
_REDACTION = "SELECT r.number, r.flags FROM events e JOIN events r ON r.number = e.redaction WHERE e.number = ?"
_GOING = Flags.GAP | Flags.HIDDEN | Flags.EDGE


@dataclass(frozen=True, slots=True)
class Gone:
    """What one step did.

    Attributes:
        events: how many were looked at and are out of the timeline now.
        more: whether there may be more to do below the same cut.
    """

    events: int
    more: bool


def oldest_place(index: Index, room: RoomId) -> int | None:
    """Return where the timeline of the room begins, None if it has none."""
    place: int | None = index.value("SELECT min(place) FROM events WHERE room = ?", index.find(room) or 0)
    return place


def place_of_the_last(index: Index, room: RoomId, count: int) -> int | None:
    """Return where the newest `count` events of a room begin, None if it has no more than that."""
    place: int | None = index.value(
        "SELECT place FROM events WHERE room = ? AND place IS NOT NULL ORDER BY place DESC LIMIT 1 OFFSET ?",
        index.find(room) or 0,
        max(count - 1, 0),
    )
    return place


def event_at(index: Index, room: RoomId, count: int) -> StoredEvent | None:
    """Return the event of a room that has `count` older ones here, None if it has not so many."""
    number: int | None = index.value(
        "SELECT number FROM events WHERE room = ? AND place IS NOT NULL ORDER BY place LIMIT 1 OFFSET ?",
        index.find(room) or 0,
        count,
    )
    return None if number is None else graph.by_number(index, number)


def prune(
    change: Change,
    room_id: RoomId,
    before: int,
    may_go: Callable[[Index, StoredEvent], bool],
    here: ServerName,
) -> Gone:
    """Let go of up to `AT_A_TIME` of a room's oldest events below the order `before`; stops at one that may not go."""
    room = graph.row(change, room_id)
    if room is None or not is_settled(change, room.number):
        return Gone(0, more=False)
    newest = change.value("SELECT max(place) FROM events WHERE room = ?", room.number)
    if newest is None:
        return Gone(0, more=False)
    # The highest row of all cannot go: its number would be given away again. It is old only if it was fetched lately.
    highest = change.value("SELECT max(number) FROM events")
    rows = change.rows(_OLDEST, room.number, min(before, newest), AT_A_TIME)
    done, end = 0, None
    for (number,) in rows:
        stored = graph.by_number(change, number, room.version.id)
        if number == highest or stored.order is None or not may_go(change, stored):
            break
        end = stored.order + 1
        _let_go(change, room, stored, here)
        done += 1
    if end is not None:
        change.write(NOTE_HISTORY, room.number, end, done)
    return Gone(done, more=done == len(rows) == AT_A_TIME)


def finish(change: Change, room_id: RoomId, here: ServerName, *, ask_others: bool) -> None:
    """After a room was pruned: what comes in from its past is not fetched whole any more.

    Args:
        change: where it is written.
        room_id: the room.
        here: this box.
        ask_others: whether somebody who pages back to the horizon gets what other servers still have.
    """
    room = graph.row(change, room_id)
    if room is None:
        return
    horizon = change.value("SELECT place FROM history WHERE room = ?", room.number)
    if horizon is None:
        return
    kept = [graph.by_number(change, number) for (number,) in change.rows(_NEXT, room.number, horizon, _DEPTHS)]
    if not kept:
        return
    depth = min(stored.event.depth for stored in kept)
    if depth > room.floor:
        change.write(LIFT_FLOOR, room.number, depth)
    if ask_others and Flags.GAP not in kept[0].flags and _others_are_there(change, room, here):
        change.write(MARK_GAP, kept[0].number)


def _others_are_there(index: Index, room: RoomRow, here: ServerName) -> bool:
    own = index.find(here)
    return index.row("SELECT 1 FROM room_servers WHERE room = ? AND server <> ? LIMIT 1", room.number, own) is not None


def is_settled(index: Index, room: int) -> bool:
    """Return whether nothing is under way in a room that may point into its past."""
    waiting = index.row("SELECT 1 FROM inbox WHERE room = ? LIMIT 1", room)
    return waiting is None and index.row("SELECT 1 FROM joins WHERE room = ?", room) is None


def drop(change: Change, stored: StoredEvent) -> None:
    """Delete an event that nothing refers to; its redaction goes with it, or waits for it to come back."""
    number = stored.number
    if stored.redacted_because is not None:
        because, flags = change.row(_REDACTION, number) or (0, 0)
        if flags & Flags.OUTLIER:
            drop(change, graph.by_number(change, because))
        else:
            change.write(REMEMBER_REDACTION, id_blob(stored.event_id), because)
    target = _target(stored.event)
    if target is not None:
        change.write(FORGET_REDACTION, id_blob(target), number)
    change.write(DROP_EVENT, number)


def retire(change: Change, stored: StoredEvent) -> None:
    """Keep an event for auth chains and states only."""
    change.write(RETIRE_EVENT, stored.number, int((stored.flags | Flags.OUTLIER) & ~_GOING))


def is_pinned(index: Index, room: RoomRow, stored: StoredEvent, here: ServerName) -> bool:
    """Return whether the state at an event must stay known though the event is history.

    That of a forward extremity, and that of a departure of one of ours: it is what they may still read.
    """
    if stored.number in room.tips:
        return True
    event = stored.event
    if event.type != "m.room.member" or not event.key[1].endswith(f":{here}"):
        return False
    row = index.row(
        "SELECT membership, forgotten, event FROM memberships WHERE user = ? AND room = ?",
        index.find(event.key[1]),
        room.number,
    )
    return row is not None and row[0] in (LEAVE, BAN) and not row[1] and row[2] == stored.number


def _let_go(change: Change, room: RoomRow, stored: StoredEvent, here: ServerName) -> None:
    if departures.is_departure(change, stored.number):
        departures.forget(change, stored.number)
    if is_pinned(change, room, stored, here):
        change.write(TAKE_OUT_EVENT, stored.number)
    elif stored.event.is_state or redacts_something_here(change, stored):
        retire(change, stored)
    else:
        drop(change, stored)


def redacts_something_here(index: Index, stored: StoredEvent) -> bool:
    """Return whether a stored event shows, or may show, this redaction as the reason for its emptiness."""
    if stored.event.type == "m.room.redaction" and stored.redacted_because is not None:
        # Redacted itself it may not say any more what it redacted.
        return True
    target = _target(stored.event)
    number = None if target is None else graph.number_of(index, target)
    return number is not None and index.value("SELECT redaction FROM events WHERE number = ?", number) == stored.number


def _target(event: Event) -> EventId | None:
    if event.type != "m.room.redaction" or event.redacts is None:
        return None
    try:
        return parse_event_id(event.redacts)
    except InvalidInputError:
        return None
