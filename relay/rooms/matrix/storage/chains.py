"""Reading states and auth chains for other servers: many events, a bounded number in each step."""

from collections.abc import Iterable
from typing import Any

from relay.base.ids import EventId
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph, state, state_groups
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.store.ledger import Index, Ledger

_BATCH = 100


class Chains:
    """Collects events along auth events."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def state_before(self, stored: StoredEvent) -> list[int]:
        """Return the rows of the state before an event; empty where it is not known."""
        return await self._ledger.read(_numbers_before, stored.number)

    async def load(self, numbers: Iterable[int]) -> dict[EventId, Event]:
        """Return the events in these rows."""
        waiting, held = list(numbers), dict[EventId, Event]()
        for start in range(0, len(waiting), _BATCH):
            events = await self._ledger.read(graph.events_by_number, waiting[start : start + _BATCH])
            held.update((event.event_id, event) for event in events)
        return held

    async def auth_chain(self, start: Iterable[Event]) -> dict[EventId, Event]:
        """Return everything that the auth events of `start` lead to, `start` itself only if it is among that."""
        known = {event.event_id: event for event in start}
        chain: dict[EventId, Event] = {}
        queue = [cited for event in known.values() for cited in event.all_auth_events]
        while queue:
            wanted = [event_id for event_id in dict.fromkeys(queue) if event_id not in chain]
            batch, queue = wanted[:_BATCH], wanted[_BATCH:]
            absent = [event_id for event_id in batch if event_id not in known]
            if absent:
                known.update(await self._ledger.read(read_events, absent))
            for event_id in batch:
                if event_id in known:
                    chain[event_id] = known[event_id]
                    queue += known[event_id].all_auth_events
        return chain

    async def state_and_chain(self, stored: StoredEvent) -> dict[str, list[dict[str, Any]]]:
        """Return {"state", "auth_chain"} before an event, as federated."""
        held = await self.load(await self.state_before(stored))
        chain = await self.auth_chain([stored.event, *held.values()])
        return {
            "state": [dict(event.raw) for event in held.values()],
            "auth_chain": [dict(event.raw) for event in chain.values()],
        }


def read_events(index: Index, event_ids: Iterable[EventId]) -> dict[EventId, Event]:
    """Return those of the events that are here."""
    found = ((event_id, graph.event(index, event_id)) for event_id in event_ids)
    return {event_id: stored.event for event_id, stored in found if stored is not None}


def _numbers_before(index: Index, number: int) -> list[int]:
    group = state.group_before(index, number)
    return [] if group is None else sorted(state_groups.load(index, group).values())
