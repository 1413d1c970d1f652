"""The state of one room in a sync: what an app must know before (or after) the timeline it is shown.

Client-server API, "Syncing" (`state`, `state_after`) and "Lazy-loading room members".
"""

from collections.abc import Iterable
from typing import Any

from relay.base.ids import EventId, RoomId, UserId
from relay.core.matrix.events import Event, client_format
from relay.delivery.sync.timeline import Stretch
from relay.delivery.sync.view import View
from relay.rooms.matrix.storage import graph, state
from relay.rooms.matrix.storage.state import StateKey
from relay.store.ledger import Index

MEMBER = "m.room.member"


def whole(index: Index, view: View, room: RoomId, told: Stretch, heroes: Iterable[UserId]) -> list[dict[str, Any]]:
    """Return all state a person in the room needs with the timeline `told`."""
    lazy = view.filters.state.lazy_members
    current = {event.key: event for event in state.current_state(index, room, members=not lazy)}
    if lazy:
        wanted = {view.user, *heroes, *_senders(told)}
        current.update(state.current_events(index, room, [(MEMBER, user) for user in sorted(wanted)]))
    if not view.state_after:
        current = _rewound(index, current, told)
    return _show(view, current.values())


def changes(index: Index, view: View, room: RoomId, told: Stretch, heroes: Iterable[UserId]) -> list[dict[str, Any]]:
    """Return the state that changed since and is not told by the timeline, lazy members included."""
    changed = {event.key: event for event in state.state_changed_since(index, room, view.since or 0)}
    if view.filters.state.lazy_members:
        missing = [(MEMBER, user) for user in {*heroes, *_senders(told)} if (MEMBER, user) not in changed]
        changed.update(state.current_events(index, room, sorted(missing)))
    if not view.state_after:
        if told.limited or view.filters.state.lazy_members:
            changed = _rewound(index, changed, told)
        else:
            shown = {stored.event_id for stored in told.events}
            changed = {key: event for key, event in changed.items() if event.event_id not in shown}
    return _show(view, changed.values())


def at_departure(
    index: Index, view: View, told: Stretch, departure: EventId, after: int | None
) -> list[dict[str, Any]]:
    """Return the state of a room that was left, as of leaving; only what is younger than `after` where it is given."""
    if view.state_after or not told.events:
        held = state.state_after(index, departure)
    else:
        held = state.state_before(index, told.events[0].event_id)
    events = []
    for event_id in held.values():
        stored = graph.event(index, event_id)
        if stored is not None and (after is None or stored.position > after):
            events.append(stored.event)
    return _show(view, events)


def _senders(told: Stretch) -> set[UserId]:
    return {UserId(stored.event.sender) for stored in told.events}


def _rewound(index: Index, held: dict[StateKey, Event], told: Stretch) -> dict[StateKey, Event]:
    """Return `held` as it was before the first event of `told`: its own state events taken back."""
    keys = {stored.event.key for stored in told.events if stored.event.is_state}
    touched = [key for key in keys if key in held]
    if not touched:
        return held
    before = state.state_before(index, told.events[0].event_id, touched)
    rewound = {key: event for key, event in held.items() if key not in keys}
    for key in touched:
        stored = graph.event(index, before[key]) if key in before else None
        if stored is not None:
            rewound[key] = stored.event
    return rewound


def _show(view: View, events: Iterable[Event]) -> list[dict[str, Any]]:
    shown = (client_format(event, with_room_id=False) for event in events)
    return [view.filters.trim(event) for event in shown if view.filters.state.wants(event)]
