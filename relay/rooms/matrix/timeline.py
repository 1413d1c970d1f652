"""Rooms as clients page through them.

An order is a place in one room's timeline. A sync position is a place too (`order_at`), so that a token made from
either leads to the same events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.base.errors import InvalidInputError
from relay.base.ids import EventId, RoomId
from relay.rooms.matrix.storage import graph, history, state, state_groups
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent, first_place_after
from relay.store.ledger import Index

_START = -(1 << 62)
_END = 1 << 62
_FORWARDS = (
    "SELECT number FROM events WHERE room = ? AND place >= ? AND place < ? AND flags & 32 = 0 ORDER BY place LIMIT ?"
)
_BACKWARDS = (
    "SELECT number FROM events WHERE room = ? AND place >= ? AND place < ? AND flags & 32 = 0"
    " ORDER BY place DESC LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of a timeline for sync, oldest first.

    Attributes:
        limited: whether events between the asked position and the first of `events` were left out or are not here.
        prev_batch: token to page backwards from the first of `events`.
    """

    events: list[StoredEvent]
    limited: bool
    prev_batch: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page in the direction asked for.

    Attributes:
        end: token for the next page, None where the room begins or the present is reached.
        gap: the event whose ancestors are elsewhere, where the page stopped because of that.
    """

    events: list[StoredEvent]
    start: str
    end: str | None
    gap: StoredEvent | None = None


def token(order: int) -> str:
    """Return the pagination token of the point just before the event at `order`."""
    return f"t{order}"


def parse_token(text: str) -> int:
    """Return the order of a pagination token.

    Raises:
        InvalidInputError: it is none of ours.
    """
    digits = text[1:]
    if not text.startswith("t") or not digits.isascii() or not digits.removeprefix("-").isdecimal() or len(digits) > 20:
        raise InvalidInputError("this is not a pagination token of this server")
    return int(digits)


def order_at(position: int) -> int:
    """Return the order just after every event that was there at a sync position."""
    return first_place_after(position)


def rooms_changed_since(index: Index, after_position: int, up_to_position: int | None = None) -> set[RoomId]:
    """Return the rooms with timeline events or state changes after a position.

    One scan of the rooms table, which is a few pages; `up_to_position` only spares what is newer.
    """
    del up_to_position  # A room that changed again later may have changed before it too.
    rows = index.rows("SELECT number FROM rooms WHERE changed > ? ORDER BY number", after_position)
    return {RoomId(index.name(number)) for (number,) in rows}


def since(index: Index, room: RoomId, after_position: int, up_to_position: int, limit: int) -> Slice:
    """Return the newest events after a position, up to another, at most `limit`; stops at a gap."""
    return _newest(index, room, first_place_after(after_position), first_place_after(up_to_position), limit)


def latest(index: Index, room: RoomId, up_to_position: int, limit: int) -> Slice:
    """Return the newest events up to a position, at most `limit`; stops at a gap."""
    return _newest(index, room, _START, first_place_after(up_to_position), limit)


def _newest(index: Index, room: RoomId, start: int, end: int, limit: int) -> Slice:
    number = index.find(room)
    rows = index.rows(_BACKWARDS, number, start, end, limit + 1)
    events: list[StoredEvent] = []
    limited = len(rows) > limit or start < history.horizon(index, room)
    for (event,) in rows[:limit]:
        events.append(_decorated(index, event))
        if Flags.GAP in events[-1].flags:
            limited = True
            break
    events.reverse()
    first = _order(events[0]) if events else end
    return Slice(events, limited, token(first))


def page(
    index: Index, room: RoomId, from_order: int | None, to_order: int | None, *, backwards: bool, limit: int
) -> Page:
    """Return one page.

    Args:
        index: the snapshot.
        room: the room.
        from_order: where to start (of a token or `order_at`); None: the end if backwards, else the beginning.
        to_order: where to stop, None: nowhere.
        backwards: newest first, events before `from_order`; otherwise oldest first, from `from_order` on.
        limit: at most so many events.
    """
    number = index.find(room)
    if backwards:
        start, end = _START if to_order is None else to_order, _END if from_order is None else from_order
    else:
        start, end = _START if from_order is None else from_order, _END if to_order is None else to_order
    rows = index.rows(_BACKWARDS if backwards else _FORWARDS, number, start, end, limit + 1)
    events: list[StoredEvent] = []
    gap: StoredEvent | None = None
    for (event,) in rows[:limit]:
        events.append(_decorated(index, event))
        if backwards and Flags.GAP in events[-1].flags:
            gap = events[-1]
            break
    more = gap is not None or len(rows) > limit
    begin = token(end if backwards else start)
    if from_order is None and events:
        begin = token(_order(events[0]) + (1 if backwards else 0))
    if not more or not events:
        return Page(events, begin, None, gap)
    return Page(events, begin, token(_order(events[-1]) + (0 if backwards else 1)), gap)


def around(index: Index, event_id: EventId, limit: int) -> tuple[StoredEvent | None, Page, Page]:
    """Return (the event, the page before it, the page after it), the pages at most `limit` together.

    None and empty pages where the event is not in the timeline.
    """
    stored = graph.event(index, event_id)
    if stored is None or stored.order is None or Flags.HIDDEN in stored.flags:
        return None, Page([], "", None), Page([], "", None)
    half = limit // 2
    before = page(index, stored.room_id, stored.order, None, backwards=True, limit=half)
    after = page(index, stored.room_id, stored.order + 1, None, backwards=False, limit=limit - half)
    return _decorated(index, stored.number), before, after


def event(index: Index, event_id: EventId) -> StoredEvent | None:
    """Return an event with what it replaced, as clients may see it; None if it is not for clients."""
    stored = graph.event(index, event_id)
    if stored is None or stored.rejected or stored.soft_failed or Flags.HIDDEN in stored.flags:
        return None
    return _decorated(index, stored.number)


def events_after(index: Index, room: RoomId, order: int, limit: int) -> Sequence[StoredEvent]:
    """Return the events after an order, oldest first, at most `limit`: what unread counts look at."""
    rows = index.rows(_FORWARDS, index.find(room), order + 1, _END, limit)
    return [graph.by_number(index, number) for (number,) in rows]


def _order(stored: StoredEvent) -> int:
    assert stored.order is not None
    return stored.order


def _decorated(index: Index, number: int) -> StoredEvent:
    stored = graph.by_number(index, number)
    if not stored.event.is_state:
        return stored
    group = state.group_before(index, number)
    if group is None or group == state_groups.EMPTY:
        return stored
    replaced = state.events_of(index, group, [stored.event.key]).get(stored.event.key)
    return stored if replaced is None else replace(stored, replaced=replaced)
