"""Events that wait for their ancestors, or for a merge of states: one bounded list a room."""

from dataclasses import dataclass

from relay.base.config import LimitsConfig
from relay.base.errors import QueueFullError
from relay.base.ids import RoomId, ServerName
from relay.base.limits import INBOX_ENTRY_BYTES, INBOX_FULL_RETRY_S, MIB, REFUSE_SHARE
from relay.base.log import get_logger, tag
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.packing import pack, read_event
from relay.rooms.matrix.storage.stored_event import id_blob, id_text
from relay.rooms.matrix.tables import (
    ADD_TO_INBOX,
    COUNT_INBOX,
    DROP_FROM_INBOX,
    DROP_OLDEST_OF_INBOX,
    DROP_ROOM_INBOX,
    FORGET_INBOX_COUNT,
    FORGET_INBOX_COUNTS,
)
from relay.store.ledger import Change, Index

log = get_logger()

_MOST_VICTIMS = 8

WAKE = ("inbox",)
"""The topic rung when there is something to do for a room's inbox."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event in an inbox. `origin` sent it and can be asked for what it points to."""

    number: int
    origin: ServerName
    event: Event
    received_ms: int


class InboxFullError(QueueFullError):
    """The origin has as many events waiting as it may: it keeps the rest."""

    code = "queue.inbox_full"


def add(  # noqa: PLR0917 - what a row holds
    change: Change, room: int, origin: ServerName, event: Event, now_ms: int, limits: LimitsConfig
) -> None:
    """Put an event into its room's inbox.

    Where the room's part, or all of it, is full, the oldest of the origin that fills it most go: they are ancestors of
    what stays, and can be asked for again. That origin itself is refused.

    Raises:
        InboxFullError: the origin has reached its own limit, or is the one that fills the inbox.
    """
    blob = id_blob(event.event_id)
    if change.row("SELECT 1 FROM inbox WHERE room = ? AND id = ?", room, blob) is not None:
        return
    packed, sender = pack(event.raw), change.intern(origin)
    size_bytes = len(packed) + INBOX_ENTRY_BYTES
    if held_bytes(change, origin) + size_bytes > limits.server_inbox_mib * MIB * REFUSE_SHARE:
        raise _full("too many events of this server wait for their ancestors")
    _make_room(change, room, sender, size_bytes, limits.room_inbox_mib * MIB)
    _make_room(change, 0, sender, size_bytes, limits.inbox_mib * MIB)
    number = int(change.value("SELECT max(number) FROM inbox") or 0) + 1
    change.write(ADD_TO_INBOX, number, room, sender, now_ms, blob, packed)
    _count(change, room, sender, size_bytes)
    change.wake(WAKE, ("inbox", event.room_id))


def remove(change: Change, number: int) -> None:
    """Take an event out of its inbox."""
    row = change.row("SELECT room, origin, length(pdu) FROM inbox WHERE number = ?", number)
    if row is None:
        return
    change.write(DROP_FROM_INBOX, number)
    _count(change, row[0], row[1], -(row[2] + INBOX_ENTRY_BYTES))


def remove_all(change: Change, room: int) -> None:
    """Empty a room's inbox."""
    change.write(DROP_ROOM_INBOX, room)
    for origin, size_bytes in change.rows("SELECT origin, bytes FROM inbox_held WHERE room = ? ORDER BY origin", room):
        _count(change, room, origin, -size_bytes)


def held_bytes(index: Index, origin: ServerName | None = None) -> int:
    """Return what waits, of one server or of all."""
    number = 0 if origin is None else index.find(origin)
    size_bytes: int | None = index.value("SELECT bytes FROM inbox_held WHERE room = 0 AND origin = ?", number)
    return size_bytes or 0


@dataclass(frozen=True, slots=True)
class Held:
    """What waits in one inbox: of a room, or of everything that one server sent."""

    name: str
    held_bytes: int
    dropped: int


def fullest_rooms(index: Index, count: int) -> list[Held]:
    """Return the rooms in whose inboxes most waits."""
    rows = index.rows(
        "SELECT room, sum(bytes), sum(dropped) FROM inbox_held WHERE room > 0 GROUP BY room"
        " ORDER BY sum(bytes) DESC, room LIMIT ?",
        count,
    )
    return [Held(index.name(room), size_bytes, dropped) for room, size_bytes, dropped in rows]


def fullest_servers(index: Index, count: int) -> list[Held]:
    """Return the servers that sent most of what waits."""
    rows = index.rows(
        "SELECT origin, bytes, dropped FROM inbox_held WHERE room = 0 AND origin > 0"
        " ORDER BY bytes DESC, origin LIMIT ?",
        count,
    )
    return [Held(index.name(origin), size_bytes, dropped) for origin, size_bytes, dropped in rows]


def is_miscounted(index: Index) -> bool:
    """Return whether the counts are not those of the rows, as after a start from an older version's state."""
    found = index.value("SELECT coalesce(sum(length(pdu) + ?), 0) FROM inbox", INBOX_ENTRY_BYTES)
    return bool(found != held_bytes(index))


def recount(change: Change) -> None:
    """Count again what waits."""
    change.write(FORGET_INBOX_COUNTS)
    for room, origin, size_bytes in change.rows(
        "SELECT room, origin, sum(length(pdu) + ?) FROM inbox GROUP BY room, origin ORDER BY room, origin LIMIT 1000",
        INBOX_ENTRY_BYTES,
    ):
        _count(change, room, origin, size_bytes)


def _count(change: Change, room: int, origin: int, size_bytes: int, dropped: int = 0) -> None:
    for place in ((room, origin), (0, origin), (0, 0)):
        row = change.row("SELECT bytes, dropped FROM inbox_held WHERE room = ? AND origin = ?", *place)
        if row is not None and row[0] + size_bytes <= 0 and row[1] + dropped == 0:
            change.write(FORGET_INBOX_COUNT, *place)
        else:
            change.write(COUNT_INBOX, *place, size_bytes, dropped)


def _make_room(change: Change, room: int, sender: int, size_bytes: int, limit_bytes: int) -> None:
    most_bytes = int(limit_bytes * REFUSE_SHARE)
    for _ in range(_MOST_VICTIMS):
        if room:
            held = change.value("SELECT sum(bytes) FROM inbox_held WHERE room = ?", room) or 0
        else:
            held = held_bytes(change)
        if held + size_bytes <= most_bytes:
            return
        worst = change.value(
            "SELECT origin FROM inbox_held WHERE room = ? AND origin > 0 ORDER BY bytes DESC, origin LIMIT 1", room
        )
        if worst == sender:
            break
        # A good piece at once, so that not every event has to push another one out.
        _drop_oldest(change, room, worst, max(held + size_bytes - most_bytes, most_bytes // 16))
    raise _full("too many events wait for their ancestors")


def _drop_oldest(change: Change, room: int, origin: int, wanted_bytes: int) -> None:
    if not room:
        room = change.value(
            "SELECT room FROM inbox_held WHERE origin = ? AND room > 0 ORDER BY bytes DESC, room LIMIT 1", origin
        )
    freed = count = last = 0
    for number, size_bytes in change.rows(
        "SELECT number, length(pdu) FROM inbox WHERE room = ? AND origin = ? ORDER BY number", room, origin
    ):
        if freed >= wanted_bytes:
            break
        freed, count, last = freed + size_bytes + INBOX_ENTRY_BYTES, count + 1, number
    change.write(DROP_OLDEST_OF_INBOX, room, origin, last)
    _count(change, room, origin, -freed, count)
    log.warning("rooms.inbox_shrunk", peer_tag=tag(change.name(origin)), count=count)


def _full(message: str) -> InboxFullError:
    return InboxFullError(message, retry_after_s=INBOX_FULL_RETRY_S)


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
