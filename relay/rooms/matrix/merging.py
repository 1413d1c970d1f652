"""Merging states outside of any step: events are read in small batches, the work is done in a worker thread.

Everything read is immutable, so the result needs no check for staleness.
"""

from collections.abc import Iterable, Mapping

import trio

from relay.base.errors import TooLargeError
from relay.base.ids import EventId
from relay.base.limits import MAX_MERGE_EVENTS
from relay.core.matrix.authorization import auth_types
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.state_resolution import resolve
from relay.rooms.matrix import graph
from relay.rooms.matrix.commit import NamedState
from relay.store.ledger import Index, Ledger

_BATCH = 100
_WORTH_A_THREAD = 40


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
        conflicted, agreed = _split(states)
        await self._load_chains(held, conflicted)
        # Authorization of conflicted events also looks at what all states agree on.
        wanted = {key for event_id in conflicted for key in _auth_keys(held.get(event_id))}
        await self._load_chains(held, {agreed[key] for key in wanted if key in agreed})

        def look_up(event_ids: Iterable[EventId]) -> Mapping[EventId, Event]:
            return {event_id: held[event_id] for event_id in event_ids if event_id in held}

        if len(held) < _WORTH_A_THREAD:
            return resolve(version, states, look_up)
        return await trio.to_thread.run_sync(resolve, version, states, look_up)

    async def _load_chains(self, held: dict[EventId, Event], start: Iterable[EventId]) -> None:
        """Load events and everything that their auth events lead to."""
        queue = list(start)
        seen = set[EventId]()
        while queue:
            wanted = [event_id for event_id in dict.fromkeys(queue) if event_id not in seen]
            batch, queue = wanted[:_BATCH], wanted[_BATCH:]
            seen.update(batch)
            absent = [event_id for event_id in batch if event_id not in held]
            if absent:
                held.update(await self._ledger.read(_read, absent))
            for event_id in batch:
                if event_id in held:
                    queue += held[event_id].all_auth_events
            if len(held) > MAX_MERGE_EVENTS:
                raise TooLargeError(f"merging room states would take more than {MAX_MERGE_EVENTS} events")


def _read(index: Index, event_ids: list[EventId]) -> dict[EventId, Event]:
    found = ((event_id, graph.event(index, event_id)) for event_id in event_ids)
    return {event_id: stored.event for event_id, stored in found if stored is not None}


def _split(states: list[NamedState]) -> tuple[set[EventId], dict[tuple[str, str], EventId]]:
    conflicted, agreed = set[EventId](), dict[tuple[str, str], EventId]()
    for key in {key for held in states for key in held}:
        choices = {held.get(key) for held in states}
        there = {choice for choice in choices if choice is not None}
        if len(choices) == 1:
            agreed[key] = there.pop()
        else:
            conflicted |= there
    return conflicted, agreed


def _auth_keys(event: Event | None) -> set[tuple[str, str]]:
    return set() if event is None else {*auth_types(event, event.version), ("m.room.create", "")}
