"""Events kept only for auth chains and states: checked against the events they cite, without a state of their own."""

from collections.abc import Iterable, Mapping

from relay.base.errors import ForbiddenError, InvalidInputError
from relay.base.ids import EventId
from relay.core.matrix.authorization import authorize, check_auth_events
from relay.core.matrix.events import CREATE, Event
from relay.core.matrix.power_levels import CREATE_KEY
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.commit import put_event
from relay.rooms.matrix.storage.stored_event import Flags
from relay.store.ledger import Change, Ledger

_BATCH = 100


def in_order(events: Mapping[EventId, Event]) -> list[Event]:
    """Return the events so that each comes after those of its auth events that are among them.

    Events whose auth events lead back to themselves cannot have been made honestly and are left out.
    """
    done: dict[EventId, Event] = {}
    waiting = {event_id: _cited(event, events) for event_id, event in events.items()}
    citing: dict[EventId, list[EventId]] = {}
    for event_id, cited in waiting.items():
        for other in cited:
            citing.setdefault(other, []).append(event_id)
    ready = sorted(event_id for event_id, cited in waiting.items() if not cited)
    while ready:
        event_id = ready.pop()
        done[event_id] = events[event_id]
        for other in citing.get(event_id, ()):
            waiting[other].discard(event_id)
            if not waiting[other] and other not in done:
                ready.append(other)
    return list(done.values())


def _cited(event: Event, among: Mapping[EventId, Event]) -> set[EventId]:
    return {cited for cited in event.all_auth_events if cited in among}


def authorized(ordered: Iterable[Event], held: Mapping[EventId, Event]) -> list[tuple[Event, bool]]:
    """Return each event with whether the events it cites allow it; needs no step, so it may run in a worker.

    An event whose auth events are neither before it nor in `held` is left out.

    Args:
        ordered: as `in_order` returns them.
        held: what they cite beyond themselves; stored before, with the mark of rejection.
    """
    known = dict(held)
    decided: list[tuple[Event, bool]] = []
    for event in ordered:
        if any(cited not in known for cited in event.all_auth_events):
            continue
        good = _is_good(event, known)
        event.rejected = not good
        known[event.event_id] = event
        decided.append((event, good))
    return decided


def _is_good(event: Event, known: Mapping[EventId, Event]) -> bool:
    cited = [known[event_id] for event_id in event.auth_events]
    state = {entry.key: entry for entry in cited if entry.is_state}
    if event.create_id is not None and event.type != CREATE:
        state[CREATE_KEY] = known[event.create_id]
    try:
        check_auth_events(event, cited)
        authorize(event, state)
    except (ForbiddenError, InvalidInputError):
        return False
    return True


async def store(ledger: Ledger, room: int, decided: list[tuple[Event, bool]]) -> None:
    """Store decided events as outliers in bounded steps; those that are here already are left as they are."""
    for start in range(0, len(decided), _BATCH):
        await ledger.run(_store, room, decided[start : start + _BATCH])


def _store(change: Change, room: int, decided: list[tuple[Event, bool]]) -> None:
    for event, good in decided:
        if graph.number_of(change, event.event_id) is None:
            flags = Flags.OUTLIER if good else Flags.OUTLIER | Flags.REJECTED
            put_event(change, room, event, flags)
