"""History that this box never received, fetched when somebody pages back to it.

Source: Matrix S2S v1.19, "Backfilling and retrieving missing events".
"""

from collections.abc import Callable
from dataclasses import replace

import trio

from relay.base.errors import RelayError
from relay.base.ids import EventId, RoomId, ServerName, UserId, server_of
from relay.base.limits import BACKFILL_TIMEOUT_S, MAX_BACKFILL_PDUS
from relay.base.log import get_logger, tag
from relay.core.matrix.events import Event
from relay.rooms.matrix.deciding.acceptance import Manner, Missing
from relay.rooms.matrix.deciding.accepting import Acceptor
from relay.rooms.matrix.exchange.fetching import Fetcher, by_ancestry
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import graph, members, state
from relay.rooms.matrix.storage.graph import RoomRow
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent
from relay.rooms.matrix.tables import FLAG_EVENT
from relay.store.ledger import Change, Index, Ledger

log = get_logger()

_MOST_SERVERS = 3


class Backfiller:
    """Fills the gap below an event, a page at a time."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        peers: RoomPeers,
        keys: ServerKeys,
        server: ServerName,
        is_expired: Callable[[Index, RoomId, Event], bool] = lambda _index, _room, _event: False,
    ) -> None:
        self._ledger = ledger
        self._peers = peers
        self._fetcher = Fetcher(ledger, peers, keys)
        self._acceptor = Acceptor(ledger, server)
        self._server = server
        self._is_expired = is_expired
        self._locks: dict[RoomId, trio.Lock] = {}

    async def fill(self, room: RoomId, gap: EventId, limit: int) -> int:
        """Fetch up to `limit` events that came before `gap`; return how many were had.

        0 means that nobody who answered within `BACKFILL_TIMEOUT_S` had any.
        """
        lock = self._locks.setdefault(room, trio.Lock())
        async with lock:
            found = await self._ledger.read(_look, room, gap, self._server)
            if found is None:
                return 0
            held, stored, servers = found
            with trio.move_on_after(BACKFILL_TIMEOUT_S):
                for server in servers[:_MOST_SERVERS]:
                    try:
                        added = await self._fill_from(server, held, stored, min(limit, MAX_BACKFILL_PDUS))
                    except RelayError as error:
                        log.info("rooms.backfill_refused", peer_tag=tag(server), code=error.code)
                        continue
                    if added:
                        return added
            return 0

    async def _fill_from(self, server: ServerName, room: RoomRow, gap: StoredEvent, limit: int) -> int:
        raws = await self._peers.backfill(server, room.room_id, list(gap.event.prev_events), limit)
        good = await self._fetcher.good(raws[:limit], room.room_id, room.version)
        young = await self._ledger.read(self._young, room.room_id, good)
        new, lowest = await self._ledger.read(_placeable, room.number, gap, young)
        ordered = by_ancestry(new)
        assert gap.order is not None
        # Where the places between two stretches of timeline are few, the newest history is what is kept.
        ordered = ordered[-(gap.order - lowest - 1) :] if gap.order - lowest > 1 else []
        places = [(event, Manner(place=gap.order - len(ordered) + at)) for at, event in enumerate(ordered)]
        while places:
            places = places[await self._acceptor.accept_run(room.room_id, places) :]
            if places:
                # This one needs a merge, or something fetched.
                await self._put(server, room, *places.pop(0))
        # Where everything older would be let go at once, there is nothing to come back for.
        await self._ledger.run(_close_gap, gap, for_good=len(young) < len(good) and not ordered)
        return len(ordered)

    def _young(self, index: Index, room: RoomId, good: dict[EventId, Event]) -> dict[EventId, Event]:
        return {event_id: event for event_id, event in good.items() if not self._is_expired(index, room, event)}

    async def _put(self, server: ServerName, room: RoomRow, event: Event, manner: Manner) -> None:
        found = await self._acceptor.accept(room.room_id, event, manner)
        if isinstance(found, Missing) and found.auth_events:
            await self._fetcher.auth_chain(server, room, event.event_id)
            found = await self._acceptor.accept(room.room_id, event, manner)
        if isinstance(found, Missing) and found.prev_events:
            given = await self._fetcher.state_before(server, room, event.event_id)
            await self._acceptor.accept(room.room_id, event, replace(manner, given=given))


def _look(
    index: Index, room: RoomId, gap: EventId, here: ServerName
) -> tuple[RoomRow, StoredEvent, list[ServerName]] | None:
    held, stored = graph.row(index, room), graph.event(index, gap)
    if held is None or stored is None or stored.order is None or Flags.GAP not in stored.flags:
        return None
    sender = server_of(UserId(stored.event.sender))
    others = members.joined_servers(index, room) - {here}
    creator = server_of(UserId(graph.by_number(index, held.creation).event.sender))
    # Who sent the event, and who made the room, most likely have what came before.
    ordered = sorted(others, key=lambda server: (server != sender, server != creator, server))
    return held, stored, ordered


def _placeable(
    index: Index, room: int, gap: StoredEvent, good: dict[EventId, Event]
) -> tuple[dict[EventId, Event], int]:
    """Return the events that lie in the gap, and the place of the event before it."""
    new: dict[EventId, Event] = {}
    queue = list(gap.event.prev_events)
    while queue:
        event_id = queue.pop()
        # What is known already closes the gap on this path; what lies behind it belongs elsewhere.
        if event_id in good and event_id not in new and state.group_after(index, event_id) is None:
            new[event_id] = good[event_id]
            queue += good[event_id].prev_events
    lowest = index.value(
        "SELECT max(place) FROM events WHERE room = ? AND place < ? AND place > ?", room, gap.order, -(1 << 62)
    )
    return new, -(1 << 61) if lowest is None else int(lowest)


def _close_gap(change: Change, gap: StoredEvent, *, for_good: bool) -> None:
    """Take the mark off the event if all that it points to is here now, or never will be."""
    if graph.known(change, gap.event_id) is None:
        return
    stored = graph.by_number(change, gap.number)
    if for_good or all(state.group_after(change, prev) is not None for prev in stored.event.prev_events):
        change.write(FLAG_EVENT, stored.number, int(stored.flags & ~Flags.GAP))
