"""Questions of other servers about a room's graph and state. Nothing here changes anything.

Source: Matrix S2S v1.19, "Backfilling and retrieving missing events", "Retrieving events", "Retrieving event
authorization information".
"""

from collections.abc import Sequence
from typing import Any

from relay.base.errors import ForbiddenError, NotFoundError
from relay.base.ids import EventId, RoomId, ServerName
from relay.base.limits import MAX_BACKFILL_PDUS, MAX_MISSING_EVENTS_PAGE
from relay.rooms.matrix import server_acl, visibility
from relay.rooms.matrix.deciding.drafting import held_room
from relay.rooms.matrix.storage import graph, members
from relay.rooms.matrix.storage.chains import Chains
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent
from relay.store.ledger import Index, Ledger

# A walk meets what it does not return: rejected events, those the asker has.
_MOST_VISITED = 1_000


class Answering:
    """Reads for servers that are in the room and not shut out of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._chains = Chains(ledger)

    async def event(self, origin: ServerName, event_id: EventId) -> dict[str, Any]:
        """Return one event, redacted if the origin may not see it.

        Raises:
            NotFoundError: it is not here, or the origin is not in its room.
        """
        return await self._ledger.read(self._event, origin, event_id)

    def _event(self, index: Index, origin: ServerName, event_id: EventId) -> dict[str, Any]:
        stored = graph.event(index, event_id)
        if stored is None:
            raise NotFoundError("this event is not known here")
        try:
            self._check(index, origin, stored.room_id)
        except ForbiddenError:
            raise NotFoundError("this event is not known here") from None
        return dict(visibility.for_server(index, origin, stored.room_id, [stored])[0].raw)

    async def state(self, origin: ServerName, room: RoomId, event_id: EventId) -> dict[str, Any]:
        """Return {"pdus", "auth_chain"}: the state before an event.

        Raises:
            NotFoundError: the room, the event or its state is not known here.
            ForbiddenError: the origin is not in the room or shut out of it.
        """
        stored = await self._ledger.read(self._with_state, origin, room, event_id)
        found = await self._chains.state_and_chain(stored)
        return {"pdus": found["state"], "auth_chain": found["auth_chain"]}

    async def state_ids(self, origin: ServerName, room: RoomId, event_id: EventId) -> dict[str, Any]:
        """Return {"pdu_ids", "auth_chain_ids"}. Errors as `state`."""
        stored = await self._ledger.read(self._with_state, origin, room, event_id)
        held = await self._chains.load(await self._chains.state_before(stored))
        chain = await self._chains.auth_chain(held.values())
        return {"pdu_ids": sorted(held), "auth_chain_ids": sorted(chain)}

    def _with_state(self, index: Index, origin: ServerName, room: RoomId, event_id: EventId) -> StoredEvent:
        stored = self._held(index, origin, room, event_id)
        if stored.outlier or stored.rejected:
            raise NotFoundError("the state at this event is not known here")
        return stored

    def _held(self, index: Index, origin: ServerName, room: RoomId, event_id: EventId) -> StoredEvent:
        self._check(index, origin, room)
        stored = graph.event(index, event_id)
        if stored is None or stored.room_id != room:
            raise NotFoundError("this event is not known here")
        return stored

    async def event_auth(self, origin: ServerName, room: RoomId, event_id: EventId) -> dict[str, Any]:
        """Return {"auth_chain"} of an event. Errors as `state`."""
        stored = await self._ledger.read(self._held, origin, room, event_id)
        chain = await self._chains.auth_chain([stored.event])
        return {"auth_chain": [dict(event.raw) for event in chain.values()]}

    async def backfill(
        self, origin: ServerName, room: RoomId, from_events: Sequence[EventId], limit: int
    ) -> list[dict[str, Any]]:
        """Return events and what was before them, newest first, at most `limit` and `MAX_BACKFILL_PDUS`.

        Raises:
            NotFoundError: this box holds no such room.
            ForbiddenError: the origin is not in the room or shut out of it.
        """
        most = min(max(limit, 0), MAX_BACKFILL_PDUS)
        return await self._ledger.read(self._walk, origin, room, from_events, earliest=(), most=most, include=True)

    async def missing_events(
        self,
        origin: ServerName,
        room: RoomId,
        *,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int = 10,
        min_depth: int = 0,
    ) -> list[dict[str, Any]]:
        """Return what lies between, oldest first, at most `limit` and `MAX_MISSING_EVENTS_PAGE`.

        Errors as `backfill`.
        """
        most = min(max(limit, 0), MAX_MISSING_EVENTS_PAGE)
        found = await self._ledger.read(
            self._walk, origin, room, latest, earliest=earliest, most=most, include=False, min_depth=min_depth
        )
        return found[::-1]

    def _walk(
        self,
        index: Index,
        origin: ServerName,
        room: RoomId,
        start: Sequence[EventId],
        *,
        earliest: Sequence[EventId],
        most: int,
        include: bool,
        min_depth: int = 0,
    ) -> list[dict[str, Any]]:
        self._check(index, origin, room)
        found: dict[EventId, StoredEvent] = {}
        seen, queue = set(earliest), list(start)
        first = set(start)
        while queue and len(found) < most and len(seen) < _MOST_VISITED:
            event_id = queue.pop(0)
            if event_id in seen:
                continue
            seen.add(event_id)
            stored = graph.event(index, event_id)
            if stored is None or stored.room_id != room or Flags.OUTLIER in stored.flags:
                continue
            if stored.event.depth < min_depth:
                continue
            if (include or event_id not in first) and not stored.rejected:
                found[event_id] = stored
            queue += stored.event.prev_events
        ordered = sorted(found.values(), key=lambda one: (-one.event.depth, one.event_id))
        return [dict(event.raw) for event in visibility.for_server(index, origin, room, ordered)]

    def _check(self, index: Index, origin: ServerName, room: RoomId) -> None:
        # A server that left is still the only one that has what its people said last, if that was lost on its way.
        held_room(index, room)
        server_acl.check(index, room, origin)
        if not members.server_joined(index, room, origin):
            raise ForbiddenError("the asking server is not in the room")
