"""Merging states outside of any step: events are read in small batches, the work is done in a worker thread.

Auth chains of what is in conflict are read beforehand; the worker asks for the few events more that it needs.

Everything read is immutable, so the result needs no check for staleness.
"""

from collections.abc import Iterable, Mapping

import trio

from relay.base.errors import TooLargeError
from relay.base.ids import EventId
from relay.base.limits import MAX_MERGE_EVENTS
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.state_resolution import resolve
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.commit import NamedState
from relay.store.ledger import Index, Ledger

_BATCH = 100


class Merger:
    """Runs state resolution over events of the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def merge(self, version: RoomVersion, states: list[NamedState], pending: Iterable[Event] = ()) -> NamedState:
        """Return the state resolved from `states`.

        Args:
            version: of the room.
            states: at least one.
            pending: events in them that are not stored yet.

        Raises:
            TooLargeError: the auth chains hold more than `MAX_MERGE_EVENTS` events.
        """
        held = {event.event_id: event for event in pending}
        await self._load_chains(held, _conflicted(states))

        def look_up(event_ids: Iterable[EventId]) -> Mapping[EventId, Event]:
            asked = list(event_ids)
            absent = [event_id for event_id in asked if event_id not in held]
            if absent:
                trio.from_thread.run(self._load, held, absent)
            return {event_id: held[event_id] for event_id in asked if event_id in held}

        return await trio.to_thread.run_sync(resolve, version, states, look_up)

    async def _load(self, held: dict[EventId, Event], event_ids: list[EventId]) -> None:
        for start in range(0, len(event_ids), _BATCH):
            held.update(await self._ledger.read(_read, event_ids[start : start + _BATCH]))
            if len(held) > MAX_MERGE_EVENTS:
                raise TooLargeError(f"merging room states would take more than {MAX_MERGE_EVENTS} events")

    async def _load_chains(self, held: dict[EventId, Event], start: Iterable[EventId]) -> None:
        """Load events and everything that their auth events lead to."""
        queue = list(start)
        seen = set[EventId]()
        while queue:
            wanted = [event_id for event_id in dict.fromkeys(queue) if event_id not in seen]
            batch, queue = wanted[:_BATCH], wanted[_BATCH:]
            seen.update(batch)
            await self._load(held, [event_id for event_id in batch if event_id not in held])
            for event_id in batch:
                if event_id in held:
                    queue += held[event_id].all_auth_events


def _read(index: Index, event_ids: list[EventId]) -> dict[EventId, Event]:
    found = ((event_id, graph.event(index, event_id)) for event_id in event_ids)
    return {event_id: stored.event for event_id, stored in found if stored is not None}


def _conflicted(states: list[NamedState]) -> set[EventId]:
    common = set(states[0].items()).intersection(*(held.items() for held in states[1:]))
    return {event_id for held in states for _, event_id in held.items() - common}
