"""The state of rooms: now, and at any event whose state is known."""

from collections.abc import Collection, Iterable, Mapping

from relay.base.ids import EventId, RoomId
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph, state_groups
from relay.rooms.matrix.storage.stored_event import Flags
from relay.store.ledger import Index

StateKey = tuple[str, str]


def current_event(index: Index, room: RoomId, kind: str, state_key: str = "") -> Event | None:
    """Return the event that is the current state under (kind, state_key), None if there is none."""
    room_number, kind_number, key_number = index.find(room), index.find(kind), index.find(state_key)
    if room_number is None or kind_number is None or key_number is None:
        return None
    found = graph.current(index, room_number, kind_number, key_number)
    return None if found is None else found.event


def current_events(index: Index, room: RoomId, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
    """Return those entries of the current state that are there."""
    found = ((key, current_event(index, room, *key)) for key in keys)
    return {key: event for key, event in found if event is not None}


def current_state(index: Index, room: RoomId, *, members: bool = True) -> list[Event]:
    """Return the whole current state, in the order in which it came; empty if the room is unknown.

    `members` False leaves out the member events, of which there may be many.
    """
    held = graph.row(index, room)
    if held is None:
        return []
    left_out = 0 if members else index.find("m.room.member") or 0
    numbers = index.rows(
        "SELECT event FROM current_state WHERE room = ? AND type <> ? ORDER BY event", held.number, left_out
    )
    return graph.events_by_number(index, (number for (number,) in numbers))


def state_changed_since(index: Index, room: RoomId, after_position: int) -> list[Event]:
    """Return the current state events that became so after a position."""
    held = graph.row(index, room)
    if held is None or held.state_changed <= after_position:
        return []
    numbers = index.rows(
        "SELECT event FROM current_state WHERE room = ? AND position > ? ORDER BY event", held.number, after_position
    )
    return graph.events_by_number(index, (number for (number,) in numbers))


def state_after(index: Index, event_id: EventId, keys: Collection[StateKey] | None = None) -> dict[StateKey, EventId]:
    """Return the state after an event, only `keys` if given; empty where it is not known (outliers)."""
    return _named(index, group_after(index, event_id), keys)


def state_before(index: Index, event_id: EventId, keys: Collection[StateKey] | None = None) -> dict[StateKey, EventId]:
    """Return the state before an event, only `keys` if given; empty where it is not known (outliers)."""
    number = graph.number_of(index, event_id)
    return {} if number is None else _named(index, group_before(index, number), keys)


def group_after(index: Index, event_id: EventId) -> int | None:
    """Return the state group after an event, None where its state is not known."""
    number = graph.number_of(index, event_id)
    return None if number is None else group_after_number(index, number)


def group_after_number(index: Index, number: int) -> int | None:
    """As `group_after`, by row."""
    group: int | None = index.value("SELECT state FROM events WHERE number = ?", number)
    return group


def group_before(index: Index, number: int) -> int | None:
    """Return the state group before the event in row `number`, None where its state is not known."""
    stored = graph.by_number(index, number)
    after = group_after_number(index, number)
    if after is None or not stored.event.is_state or Flags.REJECTED in stored.flags:
        return after
    return state_groups.parent_of(index, after)


def event_numbers(index: Index, group: int, keys: Iterable[StateKey]) -> dict[StateKey, int]:
    """Return the event rows of those of `keys` that a group has."""
    wanted: dict[tuple[int, int], StateKey] = {}
    for key in keys:
        kind, state_key = index.find(key[0]), index.find(key[1])
        if kind is not None and state_key is not None:
            wanted[kind, state_key] = key
    return {wanted[pair]: number for pair, number in state_groups.look_up(index, group, wanted).items()}


def events_of(index: Index, group: int, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
    """Return the events of those of `keys` that a group has."""
    numbers = event_numbers(index, group, keys)
    return {key: graph.by_number(index, number).event for key, number in numbers.items()}


def _named(index: Index, group: int | None, keys: Collection[StateKey] | None) -> dict[StateKey, EventId]:
    if group is None:
        return {}
    if keys is not None:
        return {key: graph.id_of(index, number) for key, number in event_numbers(index, group, keys).items()}
    return name_state(index, state_groups.load(index, group))


def name_state(index: Index, state: Mapping[tuple[int, int], int]) -> dict[StateKey, EventId]:
    """Return a state of numbers as a state of names."""
    return {(index.name(kind), index.name(key)): graph.id_of(index, number) for (kind, key), number in state.items()}
