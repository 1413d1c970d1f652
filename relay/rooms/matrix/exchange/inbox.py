"""Each room's own task that works off its inbox: one room's gap never holds another room's message.

Source: Matrix S2S v1.19, "Backfilling and retrieving missing events".
"""

import trio

from relay.base.errors import Fault, PeerRefusedError, RelayError
from relay.base.ids import EventId, RoomId, ServerName
from relay.base.limits import (
    INBOX_LIFE_S,
    INBOX_REFUSED_LIFE_S,
    INBOX_RETRY_FIRST_S,
    INBOX_RETRY_MOST_S,
    MAX_GAP_PAGES,
    MAX_INBOX_TASKS,
)
from relay.base.log import get_logger, tag
from relay.core.matrix.events import Event
from relay.rooms.matrix.deciding.acceptance import PUSHED, Manner, Missing
from relay.rooms.matrix.deciding.accepting import Acceptor, AlsoOf
from relay.rooms.matrix.exchange.fetching import Fetcher, by_ancestry
from relay.rooms.matrix.membership import join_commit
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import graph, inbox_book, members, state
from relay.rooms.matrix.storage.graph import RoomRow
from relay.rooms.matrix.storage.inbox_book import Waiting
from relay.store.ledger import Change, Index, Ledger

log = get_logger()

_AT_A_TIME = 50
# A server that refuses, or gives what does not hold together, is asked so often for one event before it is dropped.
_MOST_REFUSALS = 5


class RoomInboxes:
    """Works off the inboxes of all rooms, one task for each room that has something in it."""

    def __init__(self, ledger: Ledger, *, peers: RoomPeers, keys: ServerKeys, server: ServerName) -> None:
        self._ledger = ledger
        self._fetcher = Fetcher(ledger, peers, keys)
        self._acceptor = Acceptor(ledger, server)
        self._server = server
        self._busy: set[RoomId] = set()
        self._refusals: dict[EventId, int] = {}
        self._tried_from_s: dict[EventId, float] = {}
        self._limit = trio.CapacityLimiter(MAX_INBOX_TASKS)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run for ever; also takes up what a restart found waiting, and cleans up after joins that were cut short."""
        await join_commit.abandon_unfinished(self._ledger)
        if await self._ledger.read(inbox_book.is_miscounted):
            await self._ledger.run(inbox_book.recount)
        async with trio.open_nursery() as nursery:
            with self._ledger.watch(inbox_book.WAKE) as watch:
                task_status.started()
                while True:
                    for room in await self._ledger.read(inbox_book.rooms):
                        if room not in self._busy:
                            self._busy.add(room)
                            nursery.start_soon(self._work, room)
                    await watch.wait()

    async def _work(self, room: RoomId) -> None:
        delay_s = INBOX_RETRY_FIRST_S
        with self._ledger.watch(("inbox", room)) as watch:
            while True:
                async with self._limit:
                    left = await self.settle(room)
                if left == 0:
                    # No checkpoint between this and the look: whoever adds to the inbox now finds the room not busy.
                    self._busy.discard(room)
                    if not await self._ledger.read(inbox_book.waiting, room, 1) or room in self._busy:
                        return
                    self._busy.add(room)
                    continue
                with trio.move_on_after(delay_s):
                    await watch.wait()
                delay_s = min(delay_s * 2, INBOX_RETRY_MOST_S)

    async def settle(self, room: RoomId) -> int:
        """Do what can be done for a room's inbox now; return how many of its events still wait."""
        left = 0
        while True:
            held, waiting = await self._ledger.read(_look, room, self._server)
            for entry in sorted(waiting, key=lambda one: one.event.depth):
                if held is None:
                    await self._ledger.run(_drop_unless_joining, room, entry.number)
                    left += 1
                elif not await self._settle_one(held, entry):
                    left += 1
            if left or not waiting:
                return left if held is not None else len(await self._ledger.read(inbox_book.waiting, room, 1))

    async def _settle_one(self, room: RoomRow, entry: Waiting) -> bool:
        try:
            await self._take(room, entry)
        except RelayError as error:
            return await self._put_off(room, entry, error)
        self._refusals.pop(entry.event.event_id, None)
        self._tried_from_s.pop(entry.event.event_id, None)
        return True

    async def _put_off(self, room: RoomRow, entry: Waiting, error: RelayError) -> bool:
        """Return whether the event was given up."""
        event_id = entry.event.event_id
        if not error.retryable:
            self._refusals[event_id] = self._refusals.get(event_id, 0) + 1
        # By the time that this run has tried, not by the clock on the wall: that one may jump by years.
        tried_from_s = self._tried_from_s.setdefault(event_id, trio.current_time())
        tried_for_s = trio.current_time() - tried_from_s
        patience_s = INBOX_REFUSED_LIFE_S if _may_pass(error) else 0.0
        refused = self._refusals.get(event_id, 0) >= _MOST_REFUSALS and tried_for_s >= patience_s
        if refused or tried_for_s > INBOX_LIFE_S:
            self._refusals.pop(event_id, None)
            self._tried_from_s.pop(event_id, None)
            log.warning("rooms.event_given_up", room_tag=tag(room.room_id), code=error.code)
            await self._ledger.run(inbox_book.remove, entry.number)
            return True
        log.info("rooms.gap_left_open", room_tag=tag(room.room_id), code=error.code)
        return False

    async def _take(self, room: RoomRow, entry: Waiting) -> None:
        def taken(change: Change, event: Event) -> None:
            if event.event_id == entry.event.event_id:
                inbox_book.remove(change, entry.number)

        found = await self._acceptor.accept(room.room_id, entry.event, also=lambda change: taken(change, entry.event))
        if not isinstance(found, Missing):
            return
        ordered = [(event, PUSHED) for event in by_ancestry(await self._gap(room, entry))]
        while ordered:
            ordered = ordered[await self._acceptor.accept_run(room.room_id, ordered, taken) :]
            if ordered:
                # This one needs a merge, or something fetched.
                await self._take_in(room, ordered.pop(0)[0], entry.origin, taken)

    async def _gap(self, room: RoomRow, entry: Waiting) -> dict[EventId, Event]:
        """Return the event and those of its ancestors, not yet here, that its origin has."""
        pool = {entry.event.event_id: entry.event}
        for _ in range(MAX_GAP_PAGES):
            absent, earliest = await self._ledger.read(_absent_ancestors, room.room_id, list(pool.values()))
            latest = [event_id for event_id, event in pool.items() if absent.intersection(event.prev_events)]
            if not latest:
                break
            page = await self._fetcher.missing_events(entry.origin, room, latest=latest[:20], earliest=earliest)
            new = {event_id: event for event_id, event in page.items() if event_id not in pool}
            if not new:
                break
            pool.update(new)
        return pool

    async def _take_in(self, room: RoomRow, event: Event, origin: ServerName, taken: AlsoOf) -> None:
        def also(change: Change) -> None:
            taken(change, event)

        found = await self._acceptor.accept(room.room_id, event, also=also)
        if isinstance(found, Missing) and found.auth_events:
            await self._fetcher.auth_chain(origin, room, event.event_id)
            found = await self._acceptor.accept(room.room_id, event, also=also)
        if isinstance(found, Missing) and found.prev_events:
            given = await self._fetcher.state_before(origin, room, event.event_id)
            found = await self._acceptor.accept(room.room_id, event, Manner(given=given), also=also)
        if isinstance(found, Missing):
            raise MissingAncestorsError("an event points to events that are not to be had")


class MissingAncestorsError(RelayError):
    """What an event cites is nowhere to be had."""

    code = "event.missing_ancestors"
    fault = Fault.PEER


def _may_pass(error: RelayError) -> bool:
    """Return whether a server merely does not know yet, or is busy: its own gaps may still be open."""
    return isinstance(error, MissingAncestorsError) or (
        isinstance(error, PeerRefusedError) and error.status in (404, 429)
    )


def _drop_unless_joining(change: Change, room: RoomId, number: int) -> None:
    if join_commit.version_of(change, room) is None:
        inbox_book.remove(change, number)


def _look(index: Index, room: RoomId, here: ServerName) -> tuple[RoomRow | None, list[Waiting]]:
    waiting = inbox_book.waiting(index, room, _AT_A_TIME)
    return (graph.row(index, room) if members.server_joined(index, room, here) else None), waiting


def _absent_ancestors(index: Index, room: RoomId, events: list[Event]) -> tuple[set[EventId], list[EventId]]:
    pool = {event.event_id for event in events}
    prevs = {prev for event in events for prev in event.prev_events if prev not in pool}
    absent = {prev for prev in prevs if state.group_after(index, prev) is None}
    return absent, graph.extremities(index, room)
