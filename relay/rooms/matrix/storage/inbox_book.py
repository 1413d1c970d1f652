"""Events that wait for their ancestors, or for a merge of states: one bounded list a room."""

from dataclasses import dataclass

from relay.base.ids import RoomId, ServerName
from relay.base.limits import MAX_INBOX_PDUS, MAX_ROOM_INBOX_PDUS
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.packing import pack, read_event
from relay.rooms.matrix.storage.stored_event import id_blob, id_text
from relay.rooms.matrix.tables import ADD_TO_INBOX, DROP_FROM_INBOX
from relay.store.ledger import Change, Index

WAKE = ("inbox",)
"""The topic rung when there is something to do for a room's inbox."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event in an inbox. `origin` sent it and can be asked for what it points to."""

    number: int
    origin: ServerName
    event: Event
    received_ms: int


def add(change: Change, room: int, origin: ServerName, event: Event, now_ms: int) -> None:
    """Put an event into its room's inbox.

    Where the inbox is full the oldest goes: what is dropped is an ancestor of what stays, and can be asked for again.
    """
    blob = id_blob(event.event_id)
    if change.row("SELECT 1 FROM inbox WHERE room = ? AND id = ?", room, blob) is not None:
        return
    held = change.rows("SELECT number FROM inbox WHERE room = ? ORDER BY number", room)
    if len(held) >= MAX_ROOM_INBOX_PDUS:
        change.write(DROP_FROM_INBOX, held[0][0])
    elif change.value("SELECT count(*) FROM inbox") >= MAX_INBOX_PDUS:
        change.write(DROP_FROM_INBOX, change.value("SELECT min(number) FROM inbox"))
    number = int(change.value("SELECT max(number) FROM inbox") or 0) + 1
    change.write(ADD_TO_INBOX, number, room, change.intern(origin), now_ms, blob, pack(event.raw))
    change.wake(WAKE, ("inbox", event.room_id))


def remove(change: Change, number: int) -> None:
    """Take an event out of its inbox."""
    change.write(DROP_FROM_INBOX, number)


def wake_waiting(change: Change, room: int) -> None:
    """Ring if events wait in the room: one that just came may be their ancestor."""
    if change.row("SELECT 1 FROM inbox WHERE room = ? LIMIT 1", room) is not None:
        change.wake(WAKE, ("inbox", RoomId(change.name(room))))


def rooms(index: Index) -> list[RoomId]:
    """Return the rooms with something in their inbox."""
    rows = index.rows("SELECT DISTINCT room FROM inbox ORDER BY room")
    return [RoomId(index.name(number)) for (number,) in rows]


def waiting(index: Index, room_id: RoomId, limit: int) -> list[Waiting]:
    """Return the oldest events in a room's inbox, at most `limit`."""
    held = graph.row(index, room_id)
    if held is None:
        return []
    rows = index.rows(
        "SELECT number, origin, id, pdu, received_ms FROM inbox WHERE room = ? ORDER BY number LIMIT ?",
        held.number,
        limit,
    )
    return [
        Waiting(
            number,
            ServerName(index.name(origin)),
            read_event(packed, id_text(blob), room_id, held.version.id),
            received_ms,
        )
        for number, origin, blob, packed, received_ms in rows
    ]
