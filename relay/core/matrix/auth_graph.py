"""Walking the graph that auth events span, fetching events in batches and each one once."""

from collections.abc import Callable, Iterable, Mapping

from relay.base.ids import EventId
from relay.core.matrix.events import Event

EventSource = Callable[[Iterable[EventId]], Mapping[EventId, Event]]


class AuthGraph:
    """The events one resolution has seen. Events that the source does not know are left out silently."""

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._events: dict[EventId, Event | None] = {}

    def __getitem__(self, event_id: EventId) -> Event:
        event = self._events.get(event_id)
        if event is None:
            (event,) = self.known([event_id])
        return event

    def __contains__(self, event_id: EventId) -> bool:
        return bool(self.known([event_id]))

    def known(self, event_ids: Iterable[EventId]) -> list[Event]:
        """Return those of the events that are known, in the order asked for."""
        asked = list(event_ids)
        missing = [event_id for event_id in dict.fromkeys(asked) if event_id not in self._events]
        if missing:
            found = self._source(missing)
            self._events.update((event_id, found.get(event_id)) for event_id in missing)
        return [event for event_id in asked if (event := self._events[event_id]) is not None]

    def closure(self, event_ids: Iterable[EventId]) -> set[EventId]:
        """Return the events and their auth chains."""
        seen = set(event_ids)
        frontier = seen
        while frontier:
            above = {parent for event in self.known(frontier) for parent in event.all_auth_events}
            frontier = above - seen
            seen |= frontier
        return seen

    def closure_within(self, event_ids: Iterable[EventId], candidates: set[EventId]) -> set[EventId]:
        """Return which candidates are among the events or in their auth chains; stops when all are found."""
        seen = set(event_ids)
        frontier = seen
        while frontier and not candidates <= seen:
            above = {parent for event in self.known(frontier) for parent in event.all_auth_events}
            frontier = above - seen
            seen |= frontier
        return candidates & seen

    def between(self, ends: set[EventId], reached: set[EventId]) -> set[EventId]:
        """Return every event on a path of auth events from one of `ends` to another; `reached` is their closure."""
        children: dict[EventId, list[EventId]] = {}
        for event in self.known(reached):
            for parent in event.all_auth_events:
                children.setdefault(parent, []).append(event.event_id)
        seen = set(ends)
        waiting = list(ends)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return seen
