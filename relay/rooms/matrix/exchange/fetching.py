"""Getting from other servers what a room's graph lacks here: missing events, states, auth chains, history."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import trio

from relay.base.errors import InvalidInputError, RelayError, TooLargeError
from relay.base.ids import EventId, RoomId, ServerName
from relay.base.limits import MAX_MISSING_EVENTS_PAGE, MAX_STATE_EVENTS
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import RoomVersion
from relay.rooms.matrix.deciding.checking import EventChecker
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import graph, outliers
from relay.rooms.matrix.storage.commit import NamedState
from relay.rooms.matrix.storage.graph import RoomRow
from relay.store.ledger import Index, Ledger

_BATCH = 100
# Beyond this many, one large answer is cheaper than asking for each.
_WORTH_ASKING_ONE_BY_ONE = 30
_AT_ONCE = 5


class Fetcher:
    """Fetches, checks and stores as outliers; knows nothing of timelines."""

    def __init__(self, ledger: Ledger, peers: RoomPeers, keys: ServerKeys) -> None:
        self._ledger = ledger
        self._peers = peers
        self._checker = EventChecker(keys)

    async def good(self, raws: Sequence[Mapping[str, Any]], room: RoomId, version: RoomVersion) -> dict[EventId, Event]:
        """Return those of the PDUs that are good in form and signature, and of this room."""
        checked = await self._checker.check_good(raws, version)
        return {event_id: event for event_id, event in checked.items() if event.room_id == room}

    async def missing_events(
        self, server: ServerName, room: RoomRow, *, latest: Sequence[EventId], earliest: Sequence[EventId]
    ) -> dict[EventId, Event]:
        """Return a page of what lies between, above the room's floor; nothing is stored. Raises as `RoomPeers`."""
        raws = await self._peers.missing_events(
            server,
            room.room_id,
            earliest=earliest,
            latest=latest,
            limit=MAX_MISSING_EVENTS_PAGE,
            min_depth=room.floor,
        )
        return await self.good(raws[:MAX_MISSING_EVENTS_PAGE], room.room_id, room.version)

    async def state_before(self, server: ServerName, room: RoomRow, event_id: EventId) -> NamedState:
        """Return the state before an event as a server gives it, all its events stored.

        Raises:
            UnreachableError, PeerRefusedError: as `RoomPeers`.
            TooLargeError: the state or its auth chain has more than `MAX_STATE_EVENTS` events.
            InvalidInputError: events of it are not to be had, or are not good.
        """
        state_ids, chain_ids = await self._peers.state_ids(server, room.room_id, event_id)
        wanted = {*state_ids, *chain_ids}
        if len(wanted) > MAX_STATE_EVENTS:
            raise TooLargeError(f"a state has more than {MAX_STATE_EVENTS} events")
        absent = await self._absent(wanted)
        if len(absent) > _WORTH_ASKING_ONE_BY_ONE:
            pdus, chain = await self._peers.state(server, room.room_id, event_id)
            if len(pdus) + len(chain) > 2 * MAX_STATE_EVENTS:
                raise TooLargeError(f"a state has more than {MAX_STATE_EVENTS} events")
            await self.store(room, await self.good([*chain, *pdus], room.room_id, room.version))
        elif absent:
            await self.store(room, await self._one_by_one(server, room, absent))
        return await self._as_state(room, state_ids)

    async def auth_chain(self, server: ServerName, room: RoomRow, event_id: EventId) -> None:
        """Store what an event's auth events lead to, as a server gives it. Raises as `RoomPeers`."""
        raws = await self._peers.event_auth(server, room.room_id, event_id)
        if len(raws) > MAX_STATE_EVENTS:
            raise TooLargeError(f"an auth chain has more than {MAX_STATE_EVENTS} events")
        await self.store(room, await self.good(raws, room.room_id, room.version))

    async def store(self, room: RoomRow, events: Mapping[EventId, Event]) -> None:
        """Store events as outliers, each judged by the events it cites; what cites unknown events is left out."""
        cited = {cited for event in events.values() for cited in event.all_auth_events if cited not in events}
        held = await self._read(cited)
        decided = await trio.to_thread.run_sync(lambda: outliers.authorized(outliers.in_order(events), held))
        await outliers.store(self._ledger, room.number, decided)

    async def _absent(self, event_ids: Collection[EventId]) -> list[EventId]:
        absent, waiting = list[EventId](), sorted(event_ids)
        for start in range(0, len(waiting), _BATCH):
            part = waiting[start : start + _BATCH]
            held = await self._ledger.read(graph.numbers_of, part)
            absent += [event_id for event_id in part if event_id not in held]
        return absent

    async def _read(self, event_ids: Iterable[EventId]) -> dict[EventId, Event]:
        held, waiting = dict[EventId, Event](), sorted(event_ids)
        for start in range(0, len(waiting), _BATCH):
            held.update(await self._ledger.read(_read, waiting[start : start + _BATCH]))
        return held

    async def _one_by_one(
        self, server: ServerName, room: RoomRow, event_ids: Sequence[EventId]
    ) -> dict[EventId, Event]:
        raws: list[Mapping[str, Any]] = []
        at_once = trio.CapacityLimiter(_AT_ONCE)

        async def ask(event_id: EventId) -> None:
            async with at_once:
                try:
                    raws.append(await self._peers.event(server, event_id))
                except RelayError:
                    # Whether the state holds without it shows later.
                    return

        async with trio.open_nursery() as nursery:
            for event_id in event_ids:
                nursery.start_soon(ask, event_id)
        return await self.good(raws, room.room_id, room.version)

    async def _as_state(self, room: RoomRow, event_ids: Sequence[EventId]) -> NamedState:
        events = await self._read(event_ids)
        named: dict[tuple[str, str], EventId] = {}
        for event_id in event_ids:
            event = events.get(event_id)
            if event is None or event.room_id != room.room_id or not event.is_state:
                raise InvalidInputError("a given state holds an event that is not to be had")
            if not event.rejected:
                named[event.key] = event_id
        return named


def _read(index: Index, event_ids: Sequence[EventId]) -> dict[EventId, Event]:
    found = ((event_id, graph.event(index, event_id)) for event_id in event_ids)
    return {event_id: stored.event for event_id, stored in found if stored is not None}


def by_ancestry(pool: Mapping[EventId, Event]) -> list[Event]:
    """Return the events so that each comes after those of its `prev_events` that are among them."""
    done: dict[EventId, Event] = {}
    waiting = {event_id: {prev for prev in event.prev_events if prev in pool} for event_id, event in pool.items()}
    following: dict[EventId, list[EventId]] = {}
    for event_id, prevs in waiting.items():
        for prev in prevs:
            following.setdefault(prev, []).append(event_id)
    ready = sorted((event_id for event_id, prevs in waiting.items() if not prevs), reverse=True)
    while ready:
        event_id = ready.pop()
        done[event_id] = pool[event_id]
        for other in following.get(event_id, ()):
            waiting[other].discard(event_id)
            if not waiting[other]:
                ready.append(other)
    return list(done.values())
