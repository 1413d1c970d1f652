"""Catching up after a start: asking what other servers hold newest, instead of waiting for them to send again.

A server that failed to reach this one tries again when it likes, some only when something new happens. The template
of a leave names the newest events of a room and changes nothing (Matrix S2S v1.19, `GET /make_leave`); what is not here
is fetched and goes the way of every pushed event, its missing ancestors included.
"""

from collections.abc import Callable, Sequence
from typing import Any

import trio

from relay.base.errors import InvalidInputError, RelayError
from relay.base.ids import EventId, RoomId, ServerName, UserId, parse_event_id, server_of
from relay.base.limits import (
    CATCH_UP_CONCURRENCY,
    CATCH_UP_HEAD_START_S,
    CATCH_UP_REPEATS_S,
    CATCH_UP_SERVERS,
    MAX_PREV_EVENTS,
)
from relay.base.log import get_logger
from relay.rooms.matrix.exchange.receiving import PduReceiver
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.storage import graph, history, members
from relay.store.ledger import Index, Ledger

log = get_logger()


class CatchingUp:
    """Looks into every shared room once after a start, and at every server a few times more.

    Args:
        is_welcome: whether the box takes in anything new; while it does not, nobody is asked.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        peers: RoomPeers,
        receiver: PduReceiver,
        server: ServerName,
        is_welcome: Callable[[], bool] = lambda: True,
    ) -> None:
        self._ledger = ledger
        self._peers = peers
        self._receiver = receiver
        self._server = server
        self._is_welcome = is_welcome

    async def run(self) -> None:
        """Look everywhere soon, and then through one room of each server: some need a few knocks to wake up.

        Servers have a moment to send by themselves first: with what they send come the keys that open it.
        """
        rooms = await self._ledger.read(_shared_rooms, self._server)
        await trio.sleep(CATCH_UP_HEAD_START_S)
        await self._look_into(rooms)
        log.info("rooms.caught_up", count=len(rooms))
        for pause_s in CATCH_UP_REPEATS_S:
            await trio.sleep(pause_s)
            await self._look_into(await self._ledger.read(_room_of_each_server, self._server, rooms))

    async def _look_into(self, rooms: Sequence[RoomId]) -> None:
        places = trio.CapacityLimiter(CATCH_UP_CONCURRENCY)

        async def look(room: RoomId) -> None:
            async with places:
                await self._look(room)

        async with trio.open_nursery() as nursery:
            for room in rooms:
                nursery.start_soon(look, room)

    async def _look(self, room: RoomId) -> None:
        user, servers = await self._ledger.read(_who_asks_whom, room, self._server)
        if user is None or not self._is_welcome():
            return
        for server in servers[:CATCH_UP_SERVERS]:
            try:
                template = await self._peers.make_leave(server, room, user)
                newest = _newest(template.get("event"))
                missing = await self._ledger.read(_missing, newest)
                found = [await self._peers.event(server, event_id) for event_id in missing]
                pdus = await self._ledger.read(_young, room, found)
                if pdus:
                    checked = await self._receiver.prepare(server, pdus)
                    await self._ledger.run(self._receiver.accept, server, checked)
            except RelayError as error:
                log.debug("rooms.newest_unknown", code=error.code)
                continue
            return


def _young(index: Index, room: RoomId, pdus: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is not of a past that was let go: a server that lags behind names what everybody here had once."""
    held = graph.row(index, room)
    if held is None or history.horizon_of(index, held.number) < 0:
        return list(pdus)
    return [pdu for pdu in pdus if type(pdu.get("depth")) is int and pdu["depth"] >= held.floor]


def _newest(template: object) -> list[EventId]:
    found = template.get("prev_events") if isinstance(template, dict) else None
    if not isinstance(found, list) or not all(isinstance(event_id, str) for event_id in found):
        raise InvalidInputError("the template of a leave names no events")
    return [parse_event_id(event_id) for event_id in found[:MAX_PREV_EVENTS]]


def _shared_rooms(index: Index, here: ServerName) -> list[RoomId]:
    """Return the rooms that somebody here and somebody elsewhere is in."""
    rows = index.rows(
        "SELECT room FROM room_servers AS ours WHERE server = ? AND EXISTS "
        "(SELECT 1 FROM room_servers AS theirs WHERE theirs.room = ours.room AND theirs.server != ours.server) "
        "ORDER BY room",
        index.find(here),
    )
    return [RoomId(index.name(room)) for (room,) in rows]


def _room_of_each_server(index: Index, here: ServerName, rooms: Sequence[RoomId]) -> list[RoomId]:
    """Return few of `rooms`, so that every server is in one of them."""
    chosen: list[RoomId] = []
    seen = {here}
    for room in rooms:
        new = members.joined_servers(index, room) - seen
        if new:
            chosen.append(room)
            seen |= new
    return chosen


def _who_asks_whom(index: Index, room: RoomId, here: ServerName) -> tuple[UserId | None, list[ServerName]]:
    ours = [user for user, _ in members.members(index, room, "join") if server_of(user) == here]
    return ours[0] if ours else None, sorted(members.joined_servers(index, room) - {here})


def _missing(index: Index, events: Sequence[EventId]) -> list[EventId]:
    return [event_id for event_id in events if graph.known(index, event_id) is None]
